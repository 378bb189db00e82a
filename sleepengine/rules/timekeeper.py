"""The engine's clock: completed steps, metrics that arrived, outside events, when rules fired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schedules import Clock
from sleepengine.errors import StateError
from sleepengine.rules.histories import Histories, read_by
from sleepengine.rules.rule import Rule


class Timekeeper:
    """Counts ticks and hands out the `Clock` that triggers read.

    rules: whose triggers read it: values of metrics that they do not are forgotten; None: none is.
    """

    def __init__(self, rules: Sequence[Rule] | None = None) -> None:
        self.iteration = 0
        self.between = False  # a backward pass is done, and its step is not
        self.steps_per_epoch: int | None = None
        self.total_steps: int | None = None
        self._metrics = Histories(None if rules is None else read_by(rules))
        self._events: frozenset[str] = frozenset()
        self._last_fired: dict[str, int] = {}

    def clock(self, rule: str | None = None, ahead: int = 0) -> Clock:
        """The time as a rule sees it, `ahead` ticks from now."""
        return Clock(
            iteration=self.iteration + ahead,
            steps_per_epoch=self.steps_per_epoch,
            total_steps=self.total_steps,
            metrics=self._metrics.shown(),
            events=self._events if ahead == 0 else frozenset(),
            last_fired=None if rule is None else self._last_fired.get(rule),
        )

    @property
    def step(self) -> int:
        """Number of the step that the gradients at hand are of."""
        return self.iteration + self.between

    @property
    def epoch(self) -> float | None:
        """Epochs done, with the part of the running one; None when their length is not known."""
        return None if self.steps_per_epoch is None else self.iteration / self.steps_per_epoch

    def fired(self, rule: str) -> None:
        """Remember that a rule fired now."""
        self._last_fired[rule] = self.iteration

    def metric(self, name: str, value: float) -> None:
        """Remember a metric that arrived now."""
        self._metrics.add(name, (self.iteration, float(value)), self._last_fired)

    def events(self, names: frozenset[str]) -> None:
        """The outside events that are happening now; an empty set ends them."""
        self._events = names

    def restart(self) -> None:
        """Back to before the first step, for a new level or run; lengths stay."""
        self.iteration = 0
        self._metrics.clear()
        self._events = frozenset()
        self._last_fired = {}

    def state_dict(self) -> dict[str, Any]:
        """The time as plain values."""
        return {
            "iteration": self.iteration,
            "metrics": self._metrics.state(self._last_fired),
            "last_fired": dict(self._last_fired),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a saved time."""
        if set(state) != {"iteration", "metrics", "last_fired"}:
            raise StateError(f"the saved clock has fields {sorted(state)}")
        self.iteration = int(state["iteration"])
        self._metrics.load(state["metrics"])
        self._last_fired = {n: int(i) for n, i in state["last_fired"].items()}
