"""The base of all triggers, and how they combine: `a & b`, `a | b`, `~a`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

from schedules.clock import Clock, History


class Trigger(ABC):
    """When: a pure function of the clock, `trigger(clock) -> bool`.

    Combine triggers with `&`, `|` and `~` (not with `and`, `or`, `not`, which Python
    does not let a library define). To write one, give `__call__`; the other methods
    have defaults that are right for a trigger about which nothing else is known.

    >>> from schedules import Clock, after, every
    >>> rule = every("100it") & ~after("3ep")
    >>> [t for t in range(1000) if rule(Clock(t, steps_per_epoch=150))]
    [100, 200, 300, 400]
    """

    @abstractmethod
    def __call__(self, clock: Clock) -> bool:
        """True when the rule is to fire at this tick."""

    @property
    def time_only(self) -> bool:
        """True when nothing is read but iteration, last_fired and the two lengths."""
        return False

    @property
    def metrics(self) -> frozenset[str]:
        """Names of the metrics that are read."""
        return frozenset()

    @property
    def events(self) -> frozenset[str]:
        """Names of the outside events that are read."""
        return frozenset()

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Places in a metric's history that later calls may read; others can be forgotten.

        Answers must be the same without those, and so must this be, whatever comes later.
        """
        return () if self.time_only else range(len(history))

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """First and last iteration outside of which this is never true; None: not known.

        Resolves every time literal, so it raises ValueError for a clock that lacks
        steps_per_epoch or total_steps where one of them is needed.
        """
        return 0, None

    def next_after(self, clock: Clock) -> int | None:
        """A later iteration before which this is not true again; None when it never is.

        Lets a walk over time jump. Only asked where `time_only` holds.
        """
        return clock.iteration + 1

    def span(self, clock: Clock) -> tuple[int, int] | None:
        """First and last iteration of a curve: progress runs from 0 to 1 between them.

        None when the end is not known, or when no iteration is left (never true).
        """
        first, last = self.window(clock)
        return None if last is None or last < first else (first, last)

    def progress(self, clock: Clock) -> float | None:
        """(iteration - first) / (last - first) of the span, within 0..1; None without a span.

        A span of one single iteration has progress 1: there is no second chance.

        >>> from schedules import Clock, every
        >>> every("10it", after="20it", before="60it").progress(Clock(30))
        0.25
        """
        span = self.span(clock)
        if span is None:
            return None
        first, last = span
        if first == last:
            return 1.0
        return min(1.0, max(0.0, (clock.iteration - first) / (last - first)))

    def __and__(self, other: Trigger) -> Trigger:
        return And(self, _as_trigger(other, "&"))

    def __or__(self, other: Trigger) -> Trigger:
        return Or(self, _as_trigger(other, "|"))

    def __invert__(self) -> Trigger:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no truth value of its own: combine triggers with & | ~ "
            "(not and, or, not), and call it with a clock."
        )


class TimeTrigger(Trigger):
    """A trigger that reads only iteration, last_fired and the two lengths."""

    @property
    def time_only(self) -> bool:
        """Always True."""
        return True


@dataclass(frozen=True, repr=False)
class And(Trigger):
    """True when both are: `left & right`. Its window is the intersection of the two."""

    left: Trigger
    right: Trigger

    def __call__(self, clock: Clock) -> bool:
        """True when both are."""
        return self.left(clock) and self.right(clock)

    @property
    def time_only(self) -> bool:
        """True when both are."""
        return self.left.time_only and self.right.time_only

    @property
    def metrics(self) -> frozenset[str]:
        """Those of both."""
        return self.left.metrics | self.right.metrics

    @property
    def events(self) -> frozenset[str]:
        """Those of both."""
        return self.left.events | self.right.events

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Those of both."""
        left = self.left.still_read(metric, history, last_fired)
        return {*left, *self.right.still_read(metric, history, last_fired)}

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """The intersection."""
        first_a, last_a = self.left.window(clock)
        first_b, last_b = self.right.window(clock)
        known = [last for last in (last_a, last_b) if last is not None]
        return max(first_a, first_b), min(known, default=None)

    def next_after(self, clock: Clock) -> int | None:
        """The later of the two; None as soon as one has ended."""
        a, b = self.left.next_after(clock), self.right.next_after(clock)
        return None if a is None or b is None else max(a, b)

    def __repr__(self) -> str:
        return f"{_operand(self.left)} & {_operand(self.right)}"


@dataclass(frozen=True, repr=False)
class Or(Trigger):
    """True when one of the two is: `left | right`. Its window is the hull of the two."""

    left: Trigger
    right: Trigger

    def __call__(self, clock: Clock) -> bool:
        """True when one of the two is."""
        return self.left(clock) or self.right(clock)

    @property
    def time_only(self) -> bool:
        """True when both are."""
        return self.left.time_only and self.right.time_only

    @property
    def metrics(self) -> frozenset[str]:
        """Those of both."""
        return self.left.metrics | self.right.metrics

    @property
    def events(self) -> frozenset[str]:
        """Those of both."""
        return self.left.events | self.right.events

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Those of both."""
        left = self.left.still_read(metric, history, last_fired)
        return {*left, *self.right.still_read(metric, history, last_fired)}

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """The hull."""
        a, b = self.left.window(clock), self.right.window(clock)
        # One that is never true adds nothing to the hull.
        if a[1] is not None and a[1] < a[0]:
            return b
        if b[1] is not None and b[1] < b[0]:
            return a
        last = None if a[1] is None or b[1] is None else max(a[1], b[1])
        return min(a[0], b[0]), last

    def next_after(self, clock: Clock) -> int | None:
        """The earlier of the two."""
        both = (self.left.next_after(clock), self.right.next_after(clock))
        return min((t for t in both if t is not None), default=None)

    def __repr__(self) -> str:
        return f"{_operand(self.left)} | {_operand(self.right)}"


@dataclass(frozen=True, repr=False)
class Not(Trigger):
    """True when the other is not: `~inner`. Nothing is known of its window."""

    inner: Trigger

    def __call__(self, clock: Clock) -> bool:
        """True when the other is not."""
        return not self.inner(clock)

    @property
    def time_only(self) -> bool:
        """As the other."""
        return self.inner.time_only

    @property
    def metrics(self) -> frozenset[str]:
        """As the other."""
        return self.inner.metrics

    @property
    def events(self) -> frozenset[str]:
        """As the other."""
        return self.inner.events

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """As the other."""
        return self.inner.still_read(metric, history, last_fired)

    def window(self, clock: Clock) -> tuple[int, int | None]:
        """Not known; the literals inside are checked all the same."""
        self.inner.window(clock)
        return 0, None

    def __repr__(self) -> str:
        return f"~{_operand(self.inner)}"


def _operand(trigger: Trigger) -> str:
    return f"({trigger!r})" if isinstance(trigger, And | Or) else repr(trigger)


def _as_trigger(other: Trigger, sign: str) -> Trigger:
    if isinstance(other, Trigger):
        return other
    remedy = "wrap a function as when(function)" if callable(other) else "a trigger is needed"
    raise TypeError(f"trigger {sign} {other!r}: {remedy}.")
