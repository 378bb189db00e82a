"""What an amount is, the numbers of one pool, and the one rounding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

from sleepengine.errors import ScheduleError, SetupError

Curve: TypeAlias = Callable[[float], float]
Value: TypeAlias = float | Curve

# A curve may end at 1.0000000000000002; a sum of remainders may stop at 0.9999999999999999.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Tally:
    """What one pool holds: all its units, those that may be chosen, those asleep now."""

    units: int
    eligible: int
    asleep: int

    @property
    def awake(self) -> int:
        """Units that are not asleep."""
        return self.units - self.asleep

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.units + other.units, self.eligible + other.eligible, self.asleep + other.asleep
        )


def nearest(f: float, n: int) -> int:
    """Rule: k = floor(f n + 1/2): the one rounding of a share into a count.

    >>> [nearest(0.5, n) for n in (1, 2, 3, 4)]
    [1, 1, 2, 2]
    """
    return math.floor(f * n + 0.5)


class Amount(ABC):
    """How much of a pool is chosen; the number in it may be a curve of progress."""

    @abstractmethod
    def at(self, progress: float) -> Amount:
        """The same amount with its curve replaced by the number at `progress` (0 to 1)."""

    @abstractmethod
    def target(self, progress: float) -> float | None:
        """The share asked for at `progress`; None where the amount is no share (count, below)."""

    @abstractmethod
    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """How many units to choose in a pool, and the fraction of a unit left for the next firing.

        Only amounts with numbers have a quota: replace curves with `at` first.
        """


def checked_share(value: Value, call: str) -> Value:
    """The share as a float, or the curve; raises when a number is outside 0 to 1."""
    if callable(value):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SetupError(f"{call}({value!r}): give a number from 0 to 1 or a curve, as {call}(0.9)")
    share = float(value)
    if 1.0 < share <= 100.0:
        raise SetupError(
            f"{call}({value!r}): fractions run from 0 to 1: write {share / 100:g}, not {share:g}"
        )
    if not 0.0 <= share <= 1.0:
        raise SetupError(f"{call}({value!r}): fractions run from 0 to 1.")
    return share


def share_at(value: Value, progress: float, amount: Amount) -> float:
    """The share at `progress`; a curve that leaves 0 to 1 raises ScheduleError."""
    if not callable(value):
        return value
    share = float(value(progress))
    if not -ROUNDING <= share <= 1.0 + ROUNDING:
        hint = f": write {share / 100:g}, not {share:g}" if 1.0 < share <= 100.0 else "."
        raise ScheduleError(
            f"{amount!r} is {share:g} at progress {progress:g}: fractions run from 0 to 1{hint}"
        )
    return min(max(share, 0.0), 1.0)


def number(value: Value, amount: Amount) -> float:
    """The number; raises when it is still a curve."""
    if callable(value):
        raise SetupError(f"{amount!r} is a curve: replace it with .at(progress) first.")
    return value
