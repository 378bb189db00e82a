"""Triggers that fire at set times: every, once, at."""

from __future__ import annotations

from dataclasses import dataclass

from schedules.clock import Clock
from schedules.time import Time, as_time
from schedules.trigger import TimeTrigger


def every(
    interval: str | Time, after: str | Time | None = None, before: str | Time | None = None
) -> Every:
    """Fire at start, start + interval, ..., up to and including `before`.

    The start is `after` where given, else one interval in. An interval in percent is
    rounded to whole steps once, then repeated.

    Raises:
        TypeError: a time has no unit.
        ValueError: no time literal; interval of zero; `before` earlier than the start.
            What only the clock can tell (a tiny percentage, "1ep" against "500it") raises
            when asked.

    >>> [t for t in range(400) if every("100it")(Clock(t))]
    [100, 200, 300]
    >>> early = every("100it", after="0it", before="2ep")
    >>> [t for t in range(400) if early(Clock(t, steps_per_epoch=100))]
    [0, 100, 200]
    """
    return Every(
        as_time(interval, "every(interval)"),
        None if after is None else as_time(after, "every(after)"),
        None if before is None else as_time(before, "every(before)"),
    )


def once(time: str | Time) -> Once:
    """Fire at `time` only.

    Raises:
        TypeError: the time has no unit.
        ValueError: no time literal.

    >>> once("5ep")(Clock(iteration=500, steps_per_epoch=100))
    True
    """
    return Once(as_time(time, "once(time)"))


def at(*times: str | Time) -> At:
    """Fire at each of `times`.

    Raises:
        TypeError: a time has no unit.
        ValueError: no time at all, one given twice, or no time literal.

    >>> [t for t in range(100) if at("0it", "30it", "7it")(Clock(t))]
    [0, 7, 30]
    """
    return At(tuple(as_time(time, f"at(times[{i}])") for i, time in enumerate(times)))


@dataclass(frozen=True, repr=False)
class Every(TimeTrigger):
    """See `every`."""

    interval: Time
    after: Time | None
    before: Time | None

    def __post_init__(self) -> None:
        if self.interval.is_zero:
            raise ValueError(f"{self!r}: the interval is zero; the shortest is '1it'.")
        start = self.interval if self.after is None else self.after
        if self.before is not None and self.before.is_earlier(start):
            raise ValueError(f"{self!r}: {self._never('')}")

    def __call__(self, clock: Clock) -> bool:
        """True at start + k * interval, k = 0, 1, ..."""
        start, step, last = self._grid(clock)
        now = clock.iteration
        return now >= start and (now - start) % step == 0 and (last is None or now <= last)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """From the first firing to the last one, so that a curve ends at its end to the bit.

        `every("100it", after="0it", before="250it")` fires last at 200: there a curve has
        progress 1.
        """
        start, step, last = self._grid(clock)
        end = clock.total_steps if last is None else last
        if end is None or end < start:
            return start, end
        return start, end - (end - start) % step

    def next_after(self, clock: Clock) -> int | None:
        """The next start + k * interval."""
        start, step, last = self._grid(clock)
        now = clock.iteration
        following = start if now < start else start + ((now - start) // step + 1) * step
        return None if last is not None and following > last else following

    def _grid(self, clock: Clock) -> tuple[int, int, int | None]:
        step = self.interval.iterations(clock)
        if step == 0:
            raise ValueError(
                f"{self!r}: the interval is less than half a step "
                f"when total_steps={clock.total_steps}."
            )
        start = step if self.after is None else self.after.iterations(clock)
        last = None if self.before is None else self.before.iterations(clock)
        if last is not None and last < start:
            lengths = (
                f" (steps {last} and {start} with steps_per_epoch={clock.steps_per_epoch}, "
                f"total_steps={clock.total_steps})"
            )
            raise ValueError(f"{self!r}: {self._never(lengths)}")
        return start, step, last

    def _never(self, lengths: str) -> str:
        start = f"one interval '{self.interval}'"
        if self.after is not None:
            start = f"after='{self.after}'"
        return f"before='{self.before}' is earlier than {start}{lengths}: it would never fire."

    def __repr__(self) -> str:
        start = "" if self.after is None else f", after='{self.after}'"
        last = "" if self.before is None else f", before='{self.before}'"
        return f"every('{self.interval}'{start}{last})"


@dataclass(frozen=True, repr=False)
class At(TimeTrigger):
    """See `at`."""

    times: tuple[Time, ...]

    def __post_init__(self) -> None:
        if not self.times:
            raise ValueError("at(): give at least one time, as in at('5ep', '10ep').")
        if len(set(self.times)) < len(self.times):
            twice = next(t for i, t in enumerate(self.times) if t in self.times[:i])
            raise ValueError(f"{self!r}: '{twice}' is given twice.")

    def __call__(self, clock: Clock) -> bool:
        """True at each of the times."""
        return clock.iteration in self._steps(clock)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """From the first time to the last."""
        steps = self._steps(clock)
        return min(steps), max(steps)

    def next_after(self, clock: Clock) -> int | None:
        """The nearest of the times still to come."""
        return min((t for t in self._steps(clock) if t > clock.iteration), default=None)

    def _steps(self, clock: Clock) -> list[int]:
        return [time.iterations(clock) for time in self.times]

    def __repr__(self) -> str:
        return f"at({', '.join(repr(str(time)) for time in self.times)})"


@dataclass(frozen=True, repr=False)
class Once(TimeTrigger):
    """See `once`."""

    time: Time

    def __call__(self, clock: Clock) -> bool:
        """True at the time."""
        return clock.iteration == self.time.iterations(clock)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """The time alone."""
        step = self.time.iterations(clock)
        return step, step

    def next_after(self, clock: Clock) -> int | None:
        """The time, while it is still to come."""
        step = self.time.iterations(clock)
        return step if step > clock.iteration else None

    def __repr__(self) -> str:
        return f"once('{self.time}')"
