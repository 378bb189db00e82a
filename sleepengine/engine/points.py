"""Kept points and schedules wait for the next step: the loop moves schedulers before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from schedules.time import Time
from sleepengine.actions.live import Live
from sleepengine.actions.rewind import Rewind
from sleepengine.actions.rewound_schedule import rewind_schedule
from sleepengine.errors import SetupError
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper

KeptTimes = Mapping[str, tuple[Time | None, frozenset[str]]]
"""Tag -> (when to keep, or None for the first attach; which parts)."""


class Points:
    """A point "4it" is the state in which step 5 begins.

    Weights, buffers, optimizer state and data order are taken when step 4 is done. Learning rates
    and schedulers are taken when step 5 begins, since loops call `scheduler.step()` in between. For
    the same reason a rule that rewinds them does so once more when the next step begins.

    wait: called when something waits for that; the driver then calls `begin_step` in time.
    in_loop: the loop may move schedules between now and the next step.
    """

    def __init__(self, live: Live, time: Timekeeper, kept_times: KeptTimes) -> None:
        self._live = live
        self._time = time
        self.kept_times = kept_times
        self.wait: Callable[[], None] = lambda: None
        self.in_loop = False

    @property
    def pending(self) -> bool:
        """Whether something waits for the next step to begin."""
        return self._live.rewound is not None or self._live.kept.unfinished

    @property
    def complete(self) -> bool:
        """Whether every point is kept already."""
        return not self.kept_times or all(tag in self._live.kept for tag in self.kept_times)

    def look(self) -> None:
        """Keep the points that are due now.

        Raises:
            SetupError: a time cannot be read by this clock.
        """
        for tag, (time, parts) in self.kept_times.items():
            if tag in self._live.kept:
                continue
            try:
                now = time is None or time.iterations(self._time.clock()) == self._time.iteration
            except ValueError as error:
                raise SetupError(f"kept point {tag!r}: {error}") from error
            if now:
                with self._live.whole():
                    self._live.kept.keep(tag, self._live, self._time.iteration, parts)
        self.await_step()

    def fired(self, rules: Sequence[Rule]) -> None:
        """These rules fired within a step: what they rewound comes back when the next one begins.

        One that acts before its step is not meant: that step begins with what was kept.
        """
        for rule in rules:
            if isinstance(rule.what, Rewind) and (rule.at == "after_step" or rule.skip_step):
                rule.what.rewind_again(self._live)
        self.await_step()

    def before_call(self) -> None:
        """Rules are fired by a call: outside the loop nothing will move schedules any more."""
        if not self.in_loop:
            self.begin_step()

    def after_call(self, rules: Sequence[Rule]) -> None:
        """Rules were fired by a call."""
        if self.in_loop:
            self.fired(rules)

    def await_step(self) -> None:
        """Ask the driver for the next step's begin, if something waits for it."""
        if self.pending:
            self.wait()

    def begin_step(self) -> None:
        """A step begins, or nothing will come before it that could move a schedule.

        Raises:
            RewindError: a schedule is not what was kept.
        """
        if not self.pending:
            return
        tag, self._live.rewound = self._live.rewound, None
        if tag is not None:
            rewind_schedule(self._live, self._live.kept[tag], f"Rewind(to={tag!r})")
        self._live.kept.finish(self._live)
