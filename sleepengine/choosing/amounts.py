"""How many units: a target share, a share of the eligible, a count, a rate, a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import final

from sleepengine.choosing.amount import (
    ROUNDING,
    Amount,
    Curve,
    Tally,
    Value,
    checked_share,
    nearest,
    number,
    share_at,
)
from sleepengine.errors import ScheduleError, SetupError


@final
@dataclass(frozen=True, repr=False)
class To(Amount):
    """See `to`."""

    f: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "f", checked_share(self.f, "to"))

    def at(self, progress: float) -> To:
        """The same amount with the number at `progress`."""
        return To(share_at(self.f, progress, self))

    def target(self, progress: float) -> float:
        """The share asleep at `progress`."""
        return share_at(self.f, progress, self)

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """What is missing to floor(f n + 1/2) sleepers, or too much."""
        wanted = nearest(number(self.f, self), tally.units)
        surplus = tally.asleep - wanted if highest else wanted - tally.asleep
        return max(0, surplus), 0.0

    def __repr__(self) -> str:
        return f"to({self.f!r})"


@final
@dataclass(frozen=True, repr=False)
class By(Amount):
    """See `by`."""

    f: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "f", checked_share(self.f, "by"))

    def at(self, progress: float) -> By:
        """The same amount with the number at `progress`."""
        return By(share_at(self.f, progress, self))

    def target(self, progress: float) -> float:
        """The share of the eligible at `progress`."""
        return share_at(self.f, progress, self)

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """Round: floor(f e + 1/2) of the eligible."""
        return nearest(number(self.f, self), tally.eligible), 0.0

    def __repr__(self) -> str:
        return f"by({self.f!r})"


@final
@dataclass(frozen=True, repr=False)
class Count(Amount):
    """See `count`."""

    k: int | Curve

    def __post_init__(self) -> None:
        if callable(self.k):
            return
        if isinstance(self.k, bool) or not isinstance(self.k, Integral) or self.k < 0:
            raise SetupError(f"count({self.k!r}): a count is a whole number of units, 0 or more.")
        object.__setattr__(self, "k", int(self.k))

    def at(self, progress: float) -> Count:
        """The same amount with the number at `progress`."""
        if not callable(self.k):
            return self
        value = float(self.k(progress))
        if not (math.isfinite(value) and value >= 0):
            raise ScheduleError(f"{self!r} is {value} at progress {progress}: counts start at 0.")
        return Count(math.floor(value + 0.5))

    def target(self, progress: float) -> None:
        """None: a count is no share."""
        return None

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """The count itself."""
        return int(number(self.k, self)), 0.0

    def __repr__(self) -> str:
        return f"count({self.k!r})"


@final
@dataclass(frozen=True, repr=False)
class Rate(Amount):
    """See `rate`."""

    r: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "r", checked_share(self.r, "rate"))

    def at(self, progress: float) -> Rate:
        """The same amount with the number at `progress`."""
        return Rate(share_at(self.r, progress, self))

    def target(self, progress: float) -> float:
        """The share per firing at `progress`."""
        return share_at(self.r, progress, self)

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """Whole units due, and the remainder."""
        due = number(self.r, self) * tally.eligible + carry
        k = min(math.floor(due + ROUNDING), tally.eligible)
        # What no unit was there for is not saved up: the remainder stays below one unit.
        return k, min(max(0.0, due - k), 1.0 - ROUNDING)

    def __repr__(self) -> str:
        return f"rate({self.r!r})"


@final
@dataclass(frozen=True, repr=False)
class Below(Amount):
    """See `below`."""

    t: Value

    def __post_init__(self) -> None:
        if callable(self.t):
            return
        if isinstance(self.t, bool) or not isinstance(self.t, Real) or math.isnan(self.t):
            raise SetupError(f"below({self.t!r}): the threshold is a number, as below(0.025).")
        object.__setattr__(self, "t", float(self.t))

    def at(self, progress: float) -> Below:
        """The same amount with the number at `progress`."""
        if not callable(self.t):
            return self
        value = float(self.t(progress))
        if math.isnan(value):
            raise ScheduleError(f"{self!r} is not a number at progress {progress}.")
        return Below(value)

    def target(self, progress: float) -> None:
        """None: a threshold is no share."""
        return None

    def quota(self, tally: Tally, *, highest: bool, carry: float) -> tuple[int, float]:
        """Raise SetupError: a threshold has no quota."""
        raise SetupError(f"{self!r} is a threshold and has no quota.")

    @property
    def threshold(self) -> float:
        """The number in it; raises when it still holds a curve."""
        return number(self.t, self)

    def __repr__(self) -> str:
        return f"below({self.t!r})"


def to(f: Value) -> To:
    """After the action floor(f n + 1/2) of the n units of a pool sleep, however they came to.

    Sleep adds what is missing, Wake takes away what is too much; past the target nothing happens.
    `f` is a share from 0 to 1 or a curve of progress.

    Raises:
        SetupError: `f` is not a number from 0 to 1.

    >>> to(0.9).quota(Tally(units=10, eligible=6, asleep=4), highest=False, carry=0.0)[0]
    5
    >>> to(0.2).quota(Tally(units=10, eligible=4, asleep=4), highest=True, carry=0.0)[0]
    2
    """
    return To(f)


def by(f: Value) -> By:
    """floor(f e + 1/2) of the e eligible units of a pool are chosen.

    Repeated, it compounds: by(0.2) leaves 0.8, then 0.64 of the weights.

    Raises:
        SetupError: `f` is not a number from 0 to 1.

    >>> by(0.2).quota(Tally(units=10, eligible=8, asleep=2), highest=False, carry=0.0)[0]
    2
    """
    return By(f)


def count(k: int | Curve) -> Count:
    """Choose k units of every pool are chosen (of all tensors together under `Global`).

    A curve's value is rounded to floor(value + 1/2).

    Raises:
        SetupError: `k` is not a whole number, 0 or more.

    >>> count(3).quota(Tally(units=10, eligible=8, asleep=2), highest=False, carry=0.0)[0]
    3
    """
    return Count(k)


def rate(r: Value) -> Rate:
    """floor(r e + carry) of the e eligible units; the fraction below one unit is carried over.

    Continual backprop's replacement rate (Dohare et al., 2024): 4 eligible nodes at rate 0.1 make
    0.4 of a node per firing, so one node goes at every second or third firing. The remainder
    never grows to a whole unit.

    Raises:
        SetupError: `r` is not a number from 0 to 1.

    >>> pool, carry, chosen = Tally(units=4, eligible=4, asleep=0), 0.0, []
    >>> for _ in range(5):
    ...     k, carry = rate(0.1).quota(pool, highest=False, carry=carry)
    ...     chosen.append(k)
    >>> chosen
    [0, 0, 1, 0, 1]
    """
    return Rate(r)


def below(t: Value) -> Below:
    """Every eligible unit with score <= t, the threshold included.

    `t` is rounded to the scores' own precision, so below(0.1) takes a float32 score of 0.1.
    Where a tensor must keep one awake unit, its highest one stays although it is below. There is
    no quota, so pools play no part, and no mirror for actions that pick the highest scores.

    Raises:
        SetupError: `t` is not a number.

    >>> below(0.025)
    below(0.025)
    """
    return Below(t)
