"""Triggers that bound others in time: after, before, cooldown."""

from __future__ import annotations

from dataclasses import dataclass

from schedules.clock import Clock
from schedules.time import Time, as_time
from schedules.trigger import TimeTrigger


def after(time: str | Time) -> After:
    """True from `time` on: iteration >= time.

    Raises:
        TypeError: the time has no unit.
        ValueError: no time literal.

    >>> [after("2it")(Clock(t)) for t in range(4)]
    [False, False, True, True]
    """
    return After(as_time(time, "after(time)"))


def before(time: str | Time) -> Before:
    """True until just before `time`: iteration < time.

    Raises:
        TypeError: the time has no unit.
        ValueError: no time literal, or a time of zero: nothing is before it.

    >>> [before("2it")(Clock(t)) for t in range(4)]
    [True, True, False, False]
    """
    return Before(as_time(time, "before(time)"))


def cooldown(time: str | Time) -> Cooldown:
    """True when the asking rule never fired, or fired at least `time` ago.

    Raises:
        TypeError: the time has no unit.
        ValueError: no time literal, or a time of zero: that would always be true.

    >>> [cooldown("10it")(Clock(30, last_fired=last)) for last in (None, 20, 21)]
    [True, True, False]
    """
    return Cooldown(as_time(time, "cooldown(time)"))


@dataclass(frozen=True, repr=False)
class After(TimeTrigger):
    """See `after`."""

    time: Time

    def __call__(self, clock: Clock) -> bool:
        """True from the time on."""
        return clock.iteration >= self.time.iterations(clock)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """From the time to the end of the run."""
        return self.time.iterations(clock), clock.total_steps

    def next_after(self, clock: Clock) -> int | None:
        """The time, then every step."""
        return max(clock.iteration + 1, self.time.iterations(clock))

    def __repr__(self) -> str:
        return f"after('{self.time}')"


@dataclass(frozen=True, repr=False)
class Before(TimeTrigger):
    """See `before`."""

    time: Time

    def __post_init__(self) -> None:
        if self.time.is_zero:
            raise ValueError(f"{self!r}: nothing is before the first step.")

    def __call__(self, clock: Clock) -> bool:
        """True until just before the time."""
        return clock.iteration < self.time.iterations(clock)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """From the first step to the last one before the time."""
        return 0, self.time.iterations(clock) - 1

    def next_after(self, clock: Clock) -> int | None:
        """Every step before the time."""
        following = clock.iteration + 1
        return following if following < self.time.iterations(clock) else None

    def __repr__(self) -> str:
        return f"before('{self.time}')"


@dataclass(frozen=True, repr=False)
class Cooldown(TimeTrigger):
    """See `cooldown`."""

    time: Time

    def __post_init__(self) -> None:
        if self.time.is_zero:
            raise ValueError(f"{self!r}: a cooldown of zero is always over.")

    def __call__(self, clock: Clock) -> bool:
        """True when the rule never fired, or at least the time ago."""
        rest = self.time.iterations(clock)
        return clock.last_fired is None or clock.iteration - clock.last_fired >= rest

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """Not known; the literal is checked all the same."""
        self.time.iterations(clock)
        return 0, None

    def next_after(self, clock: Clock) -> int | None:
        """The end of the rest, then every step."""
        following = clock.iteration + 1
        if clock.last_fired is None:
            return following
        return max(following, clock.last_fired + self.time.iterations(clock))

    def __repr__(self) -> str:
        return f"cooldown('{self.time}')"
