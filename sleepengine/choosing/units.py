"""Which entries change together: one weight, a block, a row or a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import ClassVar, final

import torch
from torch import Tensor

from sleepengine.choosing.reductions import Mean, Reduction
from sleepengine.errors import SetupError


class Units(ABC):
    """Weights in, units out, and back.

    Every mapping has one entry per tensor. The keys that `pool` returns name what competes and
    need not be parameter names: units that span several tensors may use a name of their own.
    `priced` says whether a unit can be cut out, so that it has a price in parameters and FLOPs.
    """

    priced: ClassVar[bool] = False

    @abstractmethod
    def pool(self, scores: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Scores of weights -> scores of units."""

    @abstractmethod
    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Mapping[str, Tensor]:
        """Chosen units (bool) -> chosen weights (bool), with the given parameter shapes."""

    @abstractmethod
    def all_of(self, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """True for the units whose every weight is True."""

    @abstractmethod
    def any_of(self, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """True for the units that hold a weight that is True."""


@final
@dataclass(frozen=True)
class Weights(Units):
    """Every weight is its own unit: nothing is computed or copied.

    >>> scores = {"w": torch.ones(2, 2)}
    >>> Weights().pool(scores) is scores
    True
    """

    def pool(self, scores: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The scores themselves."""
        return scores

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> Mapping[str, Tensor]:
        """The masks themselves."""
        return chosen

    def all_of(self, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The masks themselves."""
        return masks

    def any_of(self, masks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The masks themselves."""
        return masks


@final
@dataclass(frozen=True)
class Rows(Units):
    """A unit is an index along dimension 0: all that feeds one output.

    Scores (O, ...) -> (O,). A 1-D tensor has one weight per row.

    >>> Rows().pool({"w": torch.tensor([[1.0, 3.0], [0.0, 8.0]])})
    {'w': tensor([2., 4.])}
    """

    reduce: Reduction = field(default_factory=Mean)

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(O, ...) -> (O,)."""
        return {n: self.reduce(s, tuple(range(1, _dims(n, s, 1)))) for n, s in scores.items()}

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> dict[str, Tensor]:
        """(O,) -> the parameter's shape."""
        return {n: _along(c, shapes[n], 0) for n, c in chosen.items()}

    def all_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for rows that are wholly True."""
        return {n: m.reshape(m.shape[0], m[:1].numel()).all(1) for n, m in masks.items()}

    def any_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for rows with a True."""
        return {n: m.reshape(m.shape[0], m[:1].numel()).any(1) for n, m in masks.items()}


@final
@dataclass(frozen=True)
class Columns(Units):
    """A unit is an index along dimension 1: all that one input feeds.

    Scores (O, I, ...) -> (I,).

    Raises:
        SetupError: a tensor has fewer than 2 dimensions.

    >>> Columns().pool({"w": torch.tensor([[1.0, 3.0], [0.0, 8.0]])})
    {'w': tensor([0.5000, 5.5000])}
    """

    reduce: Reduction = field(default_factory=Mean)

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(O, I, ...) -> (I,)."""
        return {
            n: self.reduce(s, (0, *range(2, _dims(n, s, 2, "Columns()"))))
            for n, s in scores.items()
        }

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> dict[str, Tensor]:
        """(I,) -> the parameter's shape."""
        return {n: _along(c, shapes[n], 1) for n, c in chosen.items()}

    def all_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for columns that are wholly True."""
        return {n: _by_input(n, m).all(1) for n, m in masks.items()}

    def any_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for columns with a True."""
        return {n: _by_input(n, m).any(1) for n, m in masks.items()}


@final
@dataclass(frozen=True)
class Blocks(Units):
    """A unit is an r x c tile of the 2-D view (O, I*kh*kw) of a weight.

    Scores (O, I, ...) -> (O / r, I*kh*kw / c).

    Raises:
        SetupError: r or c is no positive whole number, or does not divide a tensor's sides.

    >>> Blocks((1, 2)).pool({"w": torch.tensor([[1.0, 3.0, 0.0, 8.0]])})
    {'w': tensor([[2., 4.]])}
    """

    shape: tuple[int, int]
    reduce: Reduction = field(default_factory=Mean)

    def __post_init__(self) -> None:
        sides = tuple(self.shape) if isinstance(self.shape, (tuple, list)) else ()
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) and n > 0 for n in sides)
        if len(sides) != 2 or not whole:
            raise SetupError(f"Blocks(shape={self.shape!r}): give (rows, columns), as (4, 4).")
        object.__setattr__(self, "shape", (int(sides[0]), int(sides[1])))

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(O, I, ...) -> (O / r, I*kh*kw / c)."""
        return {n: self.reduce(self._tiles(n, s), (1, 3)) for n, s in scores.items()}

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> dict[str, Tensor]:
        """Tiles -> the parameter's shape."""
        r, c = self.shape
        return {
            n: m[:, None, :, None].expand(-1, r, -1, c).reshape(shapes[n]).contiguous()
            for n, m in chosen.items()
        }

    def all_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for tiles that are wholly True."""
        return {n: self._tiles(n, m).all(3).all(1) for n, m in masks.items()}

    def any_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for tiles with a True."""
        return {n: self._tiles(n, m).any(3).any(1) for n, m in masks.items()}

    def _tiles(self, name: str, values: Tensor) -> Tensor:
        """The view (O / r, r, columns / c, c)."""
        _dims(name, values, 2, repr(self))
        r, c = self.shape
        rows, columns = values.shape[0], values[:1].numel()
        if rows % r or columns % c:
            raise SetupError(
                f"Blocks(shape={self.shape}) does not divide {name!r}: its shape "
                f"{tuple(values.shape)} is {rows} x {columns} as a matrix. "
                f"Shapes that fit: {_fitting(rows, columns, r, c)}."
            )
        return values.reshape(rows // r, r, columns // c, c)


def _dims(name: str, values: Tensor, least: int, who: str = "Rows()") -> int:
    if values.dim() < least:
        shape = tuple(values.shape)
        raise SetupError(f"{who} needs {least} or more dimensions: {name!r} has shape {shape}.")
    return values.dim()


def _along(chosen: Tensor, shape: torch.Size, dim: int) -> Tensor:
    """A bool per index of `dim`, repeated over all other dimensions."""
    sides = [1] * len(shape)
    sides[dim] = chosen.numel()
    return chosen.reshape(sides).expand(shape).contiguous()


def _by_input(name: str, mask: Tensor) -> Tensor:
    """The view or copy (I, everything else)."""
    _dims(name, mask, 2, "Columns()")
    inputs = mask.shape[1]
    return mask.transpose(0, 1).reshape(inputs, mask.numel() // inputs if inputs else 0)


def _fitting(rows: int, columns: int, r: int, c: int) -> str:
    """The block shapes nearest to r x c that divide rows x columns."""

    def near(total: int, wanted: int) -> list[int]:
        divisors = [d for d in range(1, min(total, 4 * wanted) + 1) if total % d == 0]
        return sorted(divisors, key=lambda d: (abs(d - wanted), d))[:2]

    shapes = [(a, b) for a in near(rows, r) for b in near(columns, c)]
    return ", ".join(str(s) for s in shapes) or "none, a side is 0"
