"""Triggers that read what training brings: plateau, when, on."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from schedules.clock import Clock, History
from schedules.trigger import Trigger

_MODES = ("min", "max")


def plateau(
    metric: str, patience: int, mode: Literal["min", "max"] = "min", min_delta: float = 0.0
) -> Plateau:
    """Fire when the last `patience` values are no better than the best before them.

    Asked again only when a new value has arrived at this very iteration. Better means
    below best - min_delta ("min") or above best + min_delta ("max"); NaN is never better.
    Values up to and including last_fired are ignored: after firing it starts afresh.

    Raises:
        TypeError: patience is no int, or metric no text.
        ValueError: empty name, patience below 1, unknown mode, min_delta negative or not finite.

    >>> trigger = plateau("loss", patience=2)
    >>> losses = ((10, 1.0), (20, 0.5), (30, 0.6), (40, 0.5))
    >>> trigger(Clock(30, metrics={"loss": losses[:3]}))
    False
    >>> trigger(Clock(40, metrics={"loss": losses}))
    True
    """
    return Plateau(metric, patience, mode, min_delta)


def when(predicate: Callable[[Clock], bool]) -> When:
    """Fire when your own function of the clock says so.

    Raises:
        TypeError: `predicate` cannot be called; or, when asked, it returned None.

    >>> def late(clock: Clock) -> bool:
    ...     return clock.iteration > 1000
    >>> when(late)
    when(late)
    >>> when(late)(Clock(1001))
    True
    """
    return When(predicate)


def on(name: str) -> On:
    """Fire at the ticks at which the outside event `name` happened.

    Raises:
        TypeError: the name is no text.
        ValueError: the name is empty.

    >>> on("task_end")(Clock(500, events=frozenset({"task_end"})))
    True
    """
    return On(name)


@dataclass(frozen=True, repr=False)
class Plateau(Trigger):
    """See `plateau`."""

    metric: str
    patience: int
    mode: Literal["min", "max"]
    min_delta: float

    def __post_init__(self) -> None:
        _check_name("plateau(metric)", self.metric)
        if not isinstance(self.patience, int) or isinstance(self.patience, bool):
            raise TypeError(
                f"{self!r}: patience is a number of values of the metric, an int; "
                f"not {type(self.patience).__name__}."
            )
        if self.patience < 1:
            raise ValueError(f"{self!r}: patience={self.patience} must be at least 1.")
        if self.mode not in _MODES:
            raise ValueError(f"{self!r}: mode={self.mode!r} must be 'min' or 'max'.")
        if not math.isfinite(self.min_delta) or self.min_delta < 0:
            raise ValueError(f"{self!r}: min_delta={self.min_delta} must be finite and >= 0.")

    def __call__(self, clock: Clock) -> bool:
        """True when a new value arrived and the last ones are no better."""
        history = clock.metrics.get(self.metric, ())
        if not history or history[-1][0] != clock.iteration:
            return False
        since = -1 if clock.last_fired is None else clock.last_fired
        values = [self._loss(v) for t, v in history if t > since]
        if len(values) <= self.patience:
            return False
        best = min(values[: -self.patience])
        # A lone inf is no better than inf: a run that gives only NaN is a plateau.
        return not min(values[-self.patience :]) < best - self.min_delta

    def _loss(self, value: float) -> float:
        """Less is better."""
        return math.inf if math.isnan(value) else value if self.mode == "min" else -value

    @property
    def metrics(self) -> frozenset[str]:
        """The one metric."""
        return frozenset({self.metric})

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Since it fired: the last `patience` values, and the best of those before them."""
        if metric != self.metric:
            return ()
        since = -1 if last_fired is None else last_fired
        places = [i for i, (t, _) in enumerate(history) if t > since]
        before = places[: -self.patience]
        best = [min(before, key=lambda i: self._loss(history[i][1]))] if before else []
        return best + places[-self.patience :]

    def __repr__(self) -> str:
        mode = "" if self.mode == "min" else f", mode={self.mode!r}"
        delta = "" if self.min_delta == 0 else f", min_delta={self.min_delta!r}"
        return f"plateau({self.metric!r}, {self.patience!r}{mode}{delta})"


@dataclass(frozen=True, repr=False)
class When(Trigger):
    """See `when`."""

    predicate: Callable[[Clock], bool]

    def __post_init__(self) -> None:
        if not callable(self.predicate):
            raise TypeError(
                f"when({self.predicate!r}): a function of the clock is needed, "
                f"not {type(self.predicate).__name__}."
            )

    def __call__(self, clock: Clock) -> bool:
        """What the function says."""
        answer = self.predicate(clock)
        if answer is None:
            raise TypeError(f"{self!r}: the function returned None instead of True or False.")
        return bool(answer)

    def __repr__(self) -> str:
        return f"when({getattr(self.predicate, '__qualname__', repr(self.predicate))})"


@dataclass(frozen=True, repr=False)
class On(Trigger):
    """See `on`."""

    name: str

    def __post_init__(self) -> None:
        _check_name("on(name)", self.name)

    def __call__(self, clock: Clock) -> bool:
        """True when the event happened at this tick."""
        return self.name in clock.events

    @property
    def events(self) -> frozenset[str]:
        """The one event."""
        return frozenset({self.name})

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Nothing."""
        return ()

    def __repr__(self) -> str:
        return f"on({self.name!r})"


def _check_name(owner: str, name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{owner}: {name!r} must be text, not {type(name).__name__}.")
    if not name:
        raise ValueError(f"{owner}: the name is empty.")
