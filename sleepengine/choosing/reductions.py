"""How the scores of many weights become the score of one unit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError


class Reduction(ABC):
    """Scores of a unit's weights in, one score out."""

    @abstractmethod
    def __call__(self, scores: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Reduce `scores` over `dims`; no `dims` leaves them as they are."""


@final
@dataclass(frozen=True)
class Mean(Reduction):
    """mean(s): units of different sizes stay comparable.

    >>> Mean()(torch.tensor([[1.0, 3.0], [0.0, 4.0]]), (1,))
    tensor([2., 2.])
    """

    def __call__(self, scores: Tensor, dims: tuple[int, ...]) -> Tensor:
        """The mean over `dims`."""
        return scores.mean(dims, dtype=wide(scores)) if dims else scores


@final
@dataclass(frozen=True)
class Total(Reduction):
    """sum(s): a unit's worth is the worth of its parts.

    `absolute` gives |sum(s)|: with `Taylor(signed=True)` the change of the loss, to first order,
    when the unit goes as a whole (Molchanov et al. 2017, arXiv:1611.06440).

    >>> Total()(torch.tensor([[1.0, 3.0], [0.0, 4.0]]), (1,))
    tensor([4., 4.])
    >>> Total(absolute=True)(torch.tensor([[1.0, -3.0], [0.0, 4.0]]), (1,))
    tensor([2., 4.])
    """

    absolute: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.absolute, bool):
            raise SetupError(f"Total(absolute={self.absolute!r}): absolute is True or False.")

    def __call__(self, scores: Tensor, dims: tuple[int, ...]) -> Tensor:
        """The sum over `dims`."""
        total = scores.sum(dims, dtype=wide(scores)) if dims else scores
        return total.abs() if self.absolute else total

    def __repr__(self) -> str:
        return "Total(absolute=True)" if self.absolute else "Total()"


@final
@dataclass(frozen=True)
class Max(Reduction):
    """max(s): one good weight saves its unit.

    >>> Max()(torch.tensor([[1.0, 3.0], [0.0, 4.0]]), (1,))
    tensor([3., 4.])
    """

    def __call__(self, scores: Tensor, dims: tuple[int, ...]) -> Tensor:
        """The maximum over `dims`."""
        return scores.amax(dims) if dims else scores


@final
@dataclass(frozen=True)
class Norm(Reduction):
    """(sum |s|^p)^(1/p), with p > 0 or infinity.

    Raises:
        SetupError: `p` is not a positive number.

    >>> Norm(2)(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), (1,))
    tensor([5., 2.])
    """

    p: float = 2.0

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, Real) or not self.p > 0:
            raise SetupError(f"Norm(p={self.p!r}): p is a number above 0, as Norm(2).")
        if math.isnan(self.p):
            raise SetupError("Norm(p=nan): p is a number above 0, as Norm(2).")

    def __call__(self, scores: Tensor, dims: tuple[int, ...]) -> Tensor:
        """The p-norm over `dims`."""
        if not dims:
            return scores.abs()
        return torch.linalg.vector_norm(scores.to(wide(scores)), self.p, dim=dims)


def wide(scores: Tensor) -> torch.dtype:
    """The type sums are held in: float32 for the half types, float64 for whole numbers."""
    if not scores.dtype.is_floating_point:
        return torch.float64
    return torch.promote_types(scores.dtype, torch.float32)
