"""Budgets: nodes are chosen until a share of the model's parameters or FLOPs sleeps with them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar, final

from torch import Tensor

from sleepengine.choosing.amount import (
    ROUNDING,
    Amount,
    Tally,
    Value,
    checked_share,
    number,
    share_at,
)
from sleepengine.errors import SetupError

B = TypeVar("B", bound="Budget")

Asleep = Mapping[str, Tensor]
"""Group of nodes -> bool (size,), True = asleep; a group that is not named is as it is now."""


class Prices(Protocol):
    """What a model costs in all, and what of it goes with the nodes that sleep.

    Both are counted on the structure that remains: a weight between two nodes goes once, with the
    first of them.
    """

    def parameters(self, asleep: Asleep) -> tuple[int, int]:
        """Entries of parameters: those of sleeping nodes, all."""
        ...

    def flops(self, asleep: Asleep) -> tuple[int, int]:
        """Floating-point operations of one forward pass: those that would go, all."""
        ...


@dataclass(frozen=True, repr=False)
class Budget(Amount):
    """A share of what the model costs; how many nodes that takes depends on which they are."""

    f: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "f", checked_share(self.f, self._call))

    @property
    @abstractmethod
    def _call(self) -> str:
        """The name of the function that makes it."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """What is counted, for messages."""

    @abstractmethod
    def price(self, prices: Prices, asleep: Asleep) -> tuple[int, int]:
        """What of the cost is asleep, and all of it."""

    def at(self: B, progress: float) -> B:
        """The same budget with the number at `progress`."""
        return type(self)(share_at(self.f, progress, self))

    def target(self, progress: float) -> float:
        """The share asleep at `progress`."""
        return share_at(self.f, progress, self)

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """Raise SetupError: how many nodes it takes depends on which they are."""
        raise SetupError(f"{self!r} is a budget of {self.unit} and no number of units.")

    def due(self, total: int) -> int:
        """ceil(f total): what must sleep at least."""
        return math.ceil(number(self.f, self) * total - ROUNDING * max(total, 1))

    def __repr__(self) -> str:
        return f"{self._call}({self.f!r})"


@final
@dataclass(frozen=True, repr=False)
class ToParameters(Budget):
    """See `to_parameters`."""

    _call = "to_parameters"
    unit = "parameters"

    def price(self, prices: Prices, asleep: Asleep) -> tuple[int, int]:
        """Entries of parameters."""
        return prices.parameters(asleep)


@final
@dataclass(frozen=True, repr=False)
class ToFlops(Budget):
    """See `to_flops`."""

    _call = "to_flops"
    unit = "FLOPs"

    def price(self, prices: Prices, asleep: Asleep) -> tuple[int, int]:
        """Floating-point operations."""
        return prices.flops(asleep)


def to_parameters(f: Value) -> ToParameters:
    """After the action a share f of all parameters of the model sleeps with its nodes, or more.

    For rules over nodes. Sleep takes the fewest nodes, lowest score first, with which at least
    ceil(f P) of the P entries of all parameters (biases, normalisations and what is in no group
    included, tied ones once) belong to sleeping nodes: without them at most (1 - f) P are left.
    Wake takes the most nodes, highest score first, with which that still holds. Under `Global()`
    all nodes are in one order; under `PerTensor()` the same share of the nodes of every group
    sleeps, rounded as `to` rounds it, as far as a group has nodes to give. A group keeps its last
    awake node unless `allow_empty`. Weights that sleep by themselves are not counted.

    Raises:
        SetupError: `f` is not a number from 0 to 1.

    >>> to_parameters(0.5)
    to_parameters(0.5)
    """
    return ToParameters(f)


def to_flops(f: Value) -> ToFlops:
    """After the action a share f of the FLOPs of a forward pass is that of sleeping nodes, or more.

    As `to_parameters`, with F = the floating-point operations of matrix products and
    convolutions in one forward pass on the engine's `example_inputs` (2 for each multiplication
    and addition, as `torch.utils.flop_counter` counts). A product with a weight goes with the
    weight's entries; products of activations in an attention go with its heads, in equal parts.
    All are counted as if the nodes were cut out, whether or not `compact()` can do that.

    Raises:
        SetupError: `f` is not a number from 0 to 1.

    >>> to_flops(0.5).due(1001)
    501
    """
    return ToFlops(f)
