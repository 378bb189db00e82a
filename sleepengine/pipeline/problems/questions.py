"""Several tasks on the same samples: the question is part of the input, the answer is a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems.bundle import Data, Part, Split
from sleepengine.pipeline.problems.pairs import BELOW


class Question(ABC):
    """What is asked of a sample; the answer follows from its class. Subclasses are frozen."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As results call the task."""

    @abstractmethod
    def answers(self, y: Tensor) -> Tensor:
        """Class of each sample -> its answer, 0 to (number of answers) - 1."""

    @abstractmethod
    def count(self, classes: int) -> int:
        """How many answers there are for samples of so many classes."""


@final
@dataclass(frozen=True)
class Label(Question):
    """Which class is it?"""

    @property
    def name(self) -> str:
        """Label."""
        return "label"

    def answers(self, y: Tensor) -> Tensor:
        """The class itself."""
        return y

    def count(self, classes: int) -> int:
        """As many as classes."""
        return classes


@final
@dataclass(frozen=True)
class Remainder(Question):
    """What is the class modulo `divisor`? With 2: is it odd?

    >>> Remainder(3).answers(torch.arange(5)).tolist()
    [0, 1, 2, 0, 1]
    """

    divisor: int = 2

    def __post_init__(self) -> None:
        if self.divisor < 2:
            raise SetupError(f"Remainder({self.divisor}): the divisor must be at least 2")

    @property
    def name(self) -> str:
        """odd, or remainder_3."""
        return "odd" if self.divisor == 2 else f"remainder_{self.divisor}"

    def answers(self, y: Tensor) -> Tensor:
        """Y mod divisor."""
        return y % self.divisor

    def count(self, classes: int) -> int:
        """`divisor`."""
        return self.divisor


@final
@dataclass(frozen=True)
class AtLeast(Question):
    """Is the class `bound` or above?

    >>> AtLeast(3).answers(torch.arange(5)).tolist()
    [0, 0, 0, 1, 1]
    """

    bound: int

    @property
    def name(self) -> str:
        """at_least_5."""
        return f"at_least_{self.bound}"

    def answers(self, y: Tensor) -> Tensor:
        """1 where the class is at least the bound."""
        return (y >= self.bound).to(y.dtype)

    def count(self, classes: int) -> int:
        """Two."""
        return 2


class OfPairs(Question):
    """A question to data whose classes are pairs: a BELOW + b (see `pairs`)."""

    modulo: int

    def count(self, classes: int) -> int:
        """`modulo`.

        Raises:
            SetupError: the classes are no pairs.
        """
        if classes != BELOW * BELOW:
            raise SetupError(
                f"{self!r} asks about pairs of numbers, and this data has {classes} classes; "
                "it goes with data: pairs"
            )
        return self.modulo

    def _check(self) -> None:
        if self.modulo < 2:
            raise SetupError(f"{self!r}: modulo must be at least 2")


@final
@dataclass(frozen=True)
class Sum(OfPairs):
    """What is a + b, modulo `modulo`?

    >>> Sum().answers(torch.tensor([7 * 100 + 95])).tolist()
    [2]
    """

    modulo: int = 100

    def __post_init__(self) -> None:
        self._check()

    @property
    def name(self) -> str:
        """Sum."""
        return "sum"

    def answers(self, y: Tensor) -> Tensor:
        """(a + b) mod modulo."""
        return (y // BELOW + y % BELOW) % self.modulo


@final
@dataclass(frozen=True)
class Product(OfPairs):
    """What is a times b, modulo `modulo`?

    >>> Product().answers(torch.tensor([7 * 100 + 95])).tolist()
    [65]
    """

    modulo: int = 100

    def __post_init__(self) -> None:
        self._check()

    @property
    def name(self) -> str:
        """Product."""
        return "product"

    def answers(self, y: Tensor) -> Tensor:
        """(a b) mod modulo."""
        return (y // BELOW) * (y % BELOW) % self.modulo


def asked(data: Data, questions: Sequence[Question]) -> Data:
    """Every sample once per question: inputs flat with the question behind them, as one of n.

    The samples of the first question come first; `one_task` cuts a split up again. There are as
    many classes as the question with the most answers has.

    Raises:
        SetupError: two questions are the same, or one does not fit the data.

    >>> from sleepengine.pipeline.problems.data import digits
    >>> several = asked(digits(), [Label(), Remainder(2)])
    >>> several.input_shape, several.classes, len(several.test) == 2 * len(digits().test)
    ((66,), 10, True)
    """
    names = [question.name for question in questions]
    if len(set(names)) < len(names):
        raise SetupError(f"tasks: each must be another one, found {names}")
    train, valid, test = (_asked(data.split(part), questions) for part in Part)
    size = train.x.shape[1]
    classes = max(question.count(data.classes) for question in questions)
    return Data(data.name, train, valid, test, (size,), classes, data.scaling)


def one_task(split: Split, number: int, tasks: int) -> Split:
    """The samples of one question."""
    size = len(split) // tasks
    own = slice(number * size, (number + 1) * size)
    return Split(split.x[own], split.y[own])


def _asked(split: Split, questions: Sequence[Question]) -> Split:
    flat = split.x.flatten(1)
    which = torch.eye(len(questions), dtype=flat.dtype, device=flat.device)
    x = [torch.cat([flat, one.expand(len(flat), -1)], 1) for one in which]
    return Split(torch.cat(x), torch.cat([one.answers(split.y) for one in questions]))
