"""Ladders: nested choices from nothing to everything, and the rung on which a budget is met."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import final

import torch
from torch import Tensor

from sleepengine.choosing.amount import Tally
from sleepengine.choosing.budgets import Budget, Prices
from sleepengine.choosing.field import Field, Taken
from sleepengine.errors import CollapseError, ScheduleError


class Ladder(ABC):
    """Choices 0, 1, ..., `top`; each one holds the one before."""

    @property
    @abstractmethod
    def top(self) -> int:
        """Number of the last choice."""

    @abstractmethod
    def take(self, rung: int) -> Taken:
        """The choice of that number."""


@final
class InOrder(Ladder):
    """Choice k: the k first units of all tensors together."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._tallies = {n: field.tally(n) for n in field.scores}
        self._top = sum(room(field, t) for t in self._tallies.values())

    @property
    def top(self) -> int:
        """All that may be chosen."""
        return self._top

    def take(self, rung: int) -> Taken:
        """The quota is the number itself."""
        return self._field.take(self._tallies, rung)


@final
class Alike(Ladder):
    """Choice k: in every tensor the same share sleeps, the k-th that any of them can tell apart."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._tallies = {n: field.tally(n) for n in field.scores}
        sizes = {t.units for t in self._tallies.values()}
        # floor(s n + 1/2) becomes j at s = (2 j - 1) / 2 n; in between nothing changes.
        steps = {Fraction(2 * j - 1, 2 * n) for n in sizes for j in range(1, n + 1)}
        self._shares = sorted({Fraction(0), *steps}, reverse=field.highest)

    @property
    def top(self) -> int:
        """The last share: all sleep, or all are awake."""
        return len(self._shares) - 1

    def take(self, rung: int) -> Taken:
        """Each tensor's quota, as far as it has units to give."""
        counts = {n: self._count(t, self._shares[rung]) for n, t in self._tallies.items()}
        parts = [self._field.take({n: t}, counts[n]) for n, t in self._tallies.items()]
        edges = [part.edge for part in parts if part.edge is not None]
        masks = {n: m for part in parts for n, m in part.masks.items()}
        last = min if self._field.highest else max
        return Taken(masks, last(edges) if edges else None)

    def _count(self, tally: Tally, share: Fraction) -> int:
        wanted = math.floor(share * tally.units + Fraction(1, 2))
        surplus = tally.asleep - wanted if self._field.highest else wanted - tally.asleep
        return min(max(0, surplus), room(self._field, tally))


def room(field: Field, tally: Tally) -> int:
    """How many units of a tensor can be chosen at most, its floor kept."""
    keeps = not field.highest and field.keep_one and 0 < tally.awake == tally.eligible
    return tally.eligible - keeps


@dataclass(frozen=True)
class _Cost:
    budget: Budget
    prices: Prices
    field: Field

    def __call__(self, masks: Mapping[str, Tensor]) -> tuple[int, int]:
        """What sleeps once these are chosen, and all."""
        after: dict[str, Tensor] = {}
        for name, mask in masks.items():
            asleep = self.field.asleep.get(name)
            if asleep is None:
                after[name] = torch.zeros_like(mask) if self.field.highest else mask
            else:
                after[name] = asleep & ~mask if self.field.highest else asleep | mask
        return self.budget.price(self.prices, after)


def spend(ladder: Ladder, budget: Budget, prices: Prices, field: Field) -> Taken:
    """The lowest rung on which enough sleeps; where units wake, the highest on which it still does.

    Raises:
        CollapseError: the floor of the tensors does not let the budget be met.
        ScheduleError: too few units may be chosen.
    """
    cost = _Cost(budget, prices, field)
    nothing = ladder.take(0)
    asleep, total = cost(nothing.masks)
    due = budget.due(total)
    if field.highest:
        if asleep < due:
            return nothing  # past the target already
        return ladder.take(_last(ladder.top, lambda k: cost(ladder.take(k).masks)[0] >= due))
    most = cost(ladder.take(ladder.top).masks)[0]
    if most < due:
        floor = any(t.eligible > room(field, t) for t in map(field.tally, field.scores))
        kind = CollapseError if floor else ScheduleError
        kept = ", one awake node of each group kept," if floor else ""
        raise kind(
            f"{budget!r} asks for {due} of {total} {budget.unit} asleep; all nodes that may be "
            f"chosen{kept} have {most} ({most / total:.3g}). Ask for less."
        )
    return ladder.take(1 + _last(ladder.top, lambda k: cost(ladder.take(k).masks)[0] < due))


def _last(top: int, holds: Callable[[int], bool]) -> int:
    """The last number from 0 to `top` for which it holds; -1 if none. It holds up to there only.

    >>> _last(10, lambda k: k * k < 30), _last(10, lambda k: False)
    (5, -1)
    """
    low, high = -1, top + 1
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low
