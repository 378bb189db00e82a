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


@final
class LeakLog:
    """Leaks that others wrote between steps, and that were put right when the next step began.

    Weights that were loaded or swapped in are no leak. What is written at two steps in a row, or at
    three between two looks, is: forward passes run with sleepers that are not zero.
    """

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}
        self._last: dict[str, tuple[Leak, int]] = {}
        self._counts: dict[str, int] = {}
        self._again: set[str] = set()

    def step(self, optimizer: int) -> int:
        """A step of this optimizer begins; its number."""
        self._steps[optimizer] = self._steps.get(optimizer, 0) + 1
        return self._steps[optimizer]

    def note(self, leak: Leak, step: int) -> None:
        """A leak is about to be put right."""
        name = leak.name
        if name in self._last and self._last[name][1] == step - 1:
            self._again.add(name)
        self._counts[name] = self._counts.get(name, 0) + 1
        if self._counts[name] > 2:
            self._again.add(name)
        self._last[name] = (leak, step)

    def take(self) -> list[Leak]:
        """The leaks that came again since the last call."""
        found = [self._last[name][0] for name in self._last if name in self._again]
        self._counts, self._again = {}, set()
        return found
