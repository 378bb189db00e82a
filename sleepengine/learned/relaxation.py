"""The contract of a relaxation: how real-valued logits stand for a mask of zeros and ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor

from sleepengine.errors import SetupError


@dataclass(frozen=True)
class Place:
    """Where logits start: their name, shape, type and device, and the layer's inputs per row."""

    name: str
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    fan_in: int = 1
    seed: int = 0


class Relaxation(ABC):
    """A mask as a function of logits that gradients can pass. Subclasses are frozen dataclasses.

    Logits of one tensor come in with the shape of its units; everything goes out in that shape.
    """

    draws: ClassVar[bool] = False
    """Whether training draws noise, so that several samples of a mask differ."""
    alpha: ClassVar[float] = 0.0
    """Weight of the penalty that suits the method."""
    lr: ClassVar[float] = 1e-2
    """Step size of Adam that suits the scale of the logits."""

    @property
    @abstractmethod
    def centre(self) -> float:
        """The logit at which a weight changes between asleep and awake."""

    @property
    @abstractmethod
    def first(self) -> float:
        """The logit that every weight starts with."""

    @abstractmethod
    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """What multiplies the weights while logits train; gradients pass to the logits.

        uniform: one number in (0, 1) per logit if the relaxation draws, else None.
        """

    @abstractmethod
    def awake(self, logits: Tensor) -> Tensor:
        """The mask that was learned, as a bool tensor (True = awake)."""

    @abstractmethod
    def expected(self, logits: Tensor) -> Tensor:
        """The gates without noise: the soft mask that was learned."""

    def penalty(self, logits: Tensor) -> Tensor | None:
        """What `alpha` multiplies, as one number; None where a penalty has no meaning."""
        return logits.sum()

    def clamp_(self, logits: Tensor) -> None:
        """Bring logits back into their range after a step; nothing by default."""
        return

    def start(self, place: Place) -> Tensor:
        """The logits to start from."""
        return torch.full(place.shape, self.first, dtype=place.dtype, device=place.device)

    def warm(self, place: Place, ranks: Tensor, span: float) -> Tensor:
        """Logits in the order of ranks in (0, 1): centre + (first - centre) (1 + span (2r - 1)).

        Raises:
            SetupError: the first logit is not above the centre.
        """
        gap = self.first - self.centre
        if not gap > 0:
            raise SetupError(
                f"{self!r} starts at {self.first}, which is not above {self.centre}, where "
                "weights fall asleep; a warm start needs room there: give a larger init="
            )
        return self.centre + gap * (1 + span * (2 * ranks - 1))


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` (bool), to the bit, with the gradient of `soft`.

    Source: Bengio, Leonard and Courville 2013 (arXiv:1308.3432).

    >>> soft = torch.tensor([0.3, 0.8], requires_grad=True)
    >>> gates = straight_through(soft > 0.5, soft)
    >>> gates.tolist(), torch.autograd.grad(gates.sum(), soft)[0].tolist()
    ([0.0, 1.0], [1.0, 1.0])
    """
    # soft - soft is an exact zero; hard - soft + soft would be off by a rounding.
    return hard.to(soft.dtype) + (soft - soft.detach())


def logistic(uniform: Tensor) -> Tensor:
    """Log u - log(1 - u): the difference of two Gumbel draws, from one uniform draw.

    >>> logistic(torch.tensor([0.5, 0.75])).exp().round(decimals=4)
    tensor([1., 3.])
    """
    return uniform.log() - (-uniform).log1p()


def check_number(
    owner: str, name: str, value: object, valid: Callable[[float], bool], said: str
) -> None:
    """A finite real number for which `valid` holds.

    Raises:
        SetupError: it is something else.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(float(value)) or not valid(float(value)):  # type: ignore[arg-type]
        raise SetupError(f"{owner}({name}={value!r}): {name} must be {said}")
