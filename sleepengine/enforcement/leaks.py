"""Leaks: sleeping entries that are not zero, frozen entries that moved."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from sleepengine.enforcement.bit_masks import Expander, differs_where, nonzero_where
from sleepengine.masks.parked import Parked


@final
class Leak(NamedTuple):
    """How many entries of one parameter broke their mask."""

    name: str
    asleep: int
    frozen: int

    def __str__(self) -> str:
        """Name and counts in words."""
        parts = []
        if self.asleep:
            parts.append(f"{self.asleep} sleeping weights are not zero")
        if self.frozen:
            parts.append(f"{self.frozen} frozen weights moved")
        return f"{self.name}: {' and '.join(parts)}"


def find_leak(
    name: str, param: Tensor, asleep: Tensor | None, frozen: Parked | None
) -> Leak | None:
    """The leak of one parameter, by bit patterns (-0.0 counts as one); None when there is none."""
    value, expander = param.detach(), Expander(param.device)
    awake = 0 if asleep is None else nonzero_where(value, asleep, expander)
    moved = 0
    if frozen is not None and frozen.count():
        kept = torch.zeros_like(value)
        frozen.fill_into(kept, frozen.bits)
        moved = differs_where(value, kept, frozen.bits, expander)
    return Leak(name, awake, moved) if awake or moved else None
