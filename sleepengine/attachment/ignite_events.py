"""Ignite's events as triggers, and the engine's own events on an Ignite trainer."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ignite.engine import Engine, EventEnum, Events
from ignite.engine.events import CallableEventWithFilter, EventsList

from schedules import Clock, Trigger
from schedules.clock import History
from sleepengine.errors import SetupError


class SleepEvents(EventEnum):
    """Events that the engine fires on the trainer it is attached to."""

    SLEPT = "slept"
    WOKE = "woke"
    FROZE = "froze"
    THAWED = "thawed"
    RESET = "reset"
    REWOUND = "rewound"


@dataclass(frozen=True, eq=False)
class IgniteEvent(Trigger):
    """Fires when an Ignite event (with its filter) fires on the trainer."""

    event: Any
    every_engine: Engine | None = None

    @property
    def key(self) -> str:
        """The name under which the event is told to the clock."""
        return f"{self.event!r}@{id(self)}"

    @property
    def events(self) -> frozenset[str]:
        """Its own key."""
        return frozenset({self.key})

    def __call__(self, clock: Clock) -> bool:
        """True while the event is happening."""
        return self.key in clock.events

    def still_read(self, metric: str, history: History, last_fired: int | None) -> Collection[int]:
        """Nothing."""
        return ()

    def listen(self, trainer: Engine, happened: Callable[[str], None]) -> Any:
        """Add a handler; returns Ignite's handle that removes it."""
        engine = trainer if self.every_engine is None else self.every_engine
        return engine.add_event_handler(self.event, lambda _: happened(self.key))

    def __repr__(self) -> str:
        """As it is written."""
        return f"on_event({self.event})"


def on_event(event: Any, engine: Engine | None = None) -> IgniteEvent:
    """Fire on any Ignite event or filter, such as `Events.EPOCH_COMPLETED(every=2)`.

    engine: the engine whose event is meant; None = the trainer. An evaluator's events can
    be used so.

    Raises:
        SetupError: if `event` is not an Ignite event.
    """
    if not isinstance(event, Events | EventEnum | CallableEventWithFilter | EventsList):
        raise SetupError(
            f"on_event({event!r}): not an Ignite event; write Events.EPOCH_COMPLETED(every=2)"
        )
    return IgniteEvent(event, engine)


def ignite_triggers(trigger: Trigger) -> list[IgniteEvent]:
    """Every Ignite event inside a combination of triggers."""
    if isinstance(trigger, IgniteEvent):
        return [trigger]
    found: list[IgniteEvent] = []
    for part in vars(trigger).values():
        if isinstance(part, Trigger):
            found += ignite_triggers(part)
    return found
