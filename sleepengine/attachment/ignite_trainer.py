"""An Ignite trainer: its iterations are the ticks, its metrics and events reach the triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer

from sleepengine.attachment.ignite_events import SleepEvents, ignite_triggers
from sleepengine.errors import SetupError
from sleepengine.rules.happenings import Happening, News

if TYPE_CHECKING:
    from sleepengine.engine.sleep_engine import SleepEngine

EVENTS: dict[Happening, Any] = {
    Happening.SLEPT: SleepEvents.SLEPT,
    Happening.WOKE: SleepEvents.WOKE,
    Happening.FROZE: SleepEvents.FROZE,
    Happening.THAWED: SleepEvents.THAWED,
    Happening.RESET: SleepEvents.RESET,
    Happening.REWOUND: SleepEvents.REWOUND,
}
ATTRIBUTES = ("sleep_fraction", "sleep_awake", "sleep_asleep", "sleep_frozen")
"""Published on `trainer.state`, for progress bars and loggers (`state_attributes=[...]`)."""
COUNTERS = tuple(f"sleep_{event.value}" for event in EVENTS.values())
"""How often each event was fired, for filters such as `SleepEvents.SLEPT(every=2)`."""
OURS = (*ATTRIBUTES, *COUNTERS, "sleep_news")


class IgniteTrainer:
    """A tick is a trainer iteration; several iterations may make one step (accumulation)."""

    def __init__(
        self,
        engine: SleepEngine,
        trainer: Engine,
        steps_per_epoch: int | None,
        total_steps: int | None,
    ) -> None:
        if not isinstance(trainer, Engine):
            raise SetupError(f"attach({trainer!r}): not an ignite.engine.Engine")
        self._engine = engine
        self._trainer = trainer
        self._given = (steps_per_epoch, total_steps)
        self._handles: list[Any] = []
        self._stepped = False
        self._before_us: dict[str, Any] = {}
        self._published: tuple[int, ...] = ()  # the masks whose shares the state shows

    def attach(self) -> None:
        """Add handlers and events; the first rules fire when the trainer starts."""
        state = self._trainer.state
        taken = [name for name in ATTRIBUTES if getattr(state, name, None) is not None]
        if taken:
            raise SetupError(
                f"trainer.state has {', '.join(taken)} already: another engine is attached to it"
            )
        self._engine.conductor.take_hold(self._before, self._after)
        self._before_us = {name: vars(state)[name] for name in OURS if name in vars(state)}
        try:
            self._listen()
        except BaseException:
            self.detach()
            raise

    def _listen(self) -> None:
        trainer = self._trainer
        missing = [event for event in EVENTS.values() if event not in trainer._allowed_events]
        if missing:
            trainer.register_events(
                *missing, event_to_attr={event: f"sleep_{event.value}" for event in missing}
            )
        self._count()
        for event, handler in (
            (Events.STARTED, self._start),
            (Events.GET_BATCH_STARTED, self._engine.conductor.points.begin_step),
            (Events.ITERATION_COMPLETED, self._tick),
            (Events.COMPLETED, self._end),
        ):
            self._handles.append(trainer.add_event_handler(event, lambda _, act=handler: act()))
        for rule in self._engine.rules:
            for trigger in ignite_triggers(rule.when):
                try:
                    self._handles.append(trigger.listen(trainer, self._happened))
                except ValueError as error:  # an event that was not registered
                    raise SetupError(f"rule {rule.name!r}: {trigger!r}: {error}") from error
        for kind in Happening:
            self._engine.firing.handlers.append((kind, self._tell))
        self._publish()

    def detach(self) -> None:
        """Remove every handler and attribute; Ignite has no way to unregister an event's name."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        handlers = self._engine.firing.handlers
        handlers[:] = [(kind, handler) for kind, handler in handlers if handler != self._tell]
        state = vars(self._trainer.state)
        for name in OURS:
            state.pop(name, None)
        state.update(self._before_us)
        self._engine.conductor.points.in_loop = False
        self._engine.conductor.let_go()

    # --- handlers ------------------------------------------------------------------------------

    def _start(self) -> None:
        state, time = self._trainer.state, self._engine.time
        given_epoch, given_total = self._given
        time.steps_per_epoch = given_epoch or state.epoch_length
        total = None
        if time.steps_per_epoch and state.max_epochs:
            total = time.steps_per_epoch * state.max_epochs
        time.total_steps = given_total or total or getattr(state, "max_iters", None)
        if state.iteration != time.iteration:
            if state.iteration == 0:  # a second run of the same trainer
                self._engine.restart()
            else:
                raise SetupError(
                    f"the trainer resumes at iteration {state.iteration}, the sleep engine is at "
                    f"{time.iteration}: load both from the same checkpoint, written by a handler "
                    "that was added after attach()"
                )
        if time.iteration == 0:
            self._engine.conductor.agenda.window = 0  # the trainer may accumulate gradients
        self._count()
        self._engine.conductor.points.in_loop = True
        self._engine.conductor.begin()
        self._publish()

    def _before(self, optimizer: Optimizer) -> None:
        self._engine.conductor.before_step(optimizer)

    def _after(self, optimizer: Optimizer) -> None:
        self._engine.firing.forget_undo()
        if optimizer is self._engine.live.optimizers[0]:
            self._stepped = True

    def _tick(self) -> None:
        stepped, self._stepped = self._stepped, False
        try:
            self._engine.conductor.tick(stepped)
        finally:
            self._publish()

    def _end(self) -> None:
        time = self._engine.time
        self._engine.conductor.points.in_loop = False
        self._engine.conductor.points.begin_step()
        if time.total_steps is not None and time.iteration >= time.total_steps:
            self._engine.conductor.end()  # a run that was cut short owes no target

    def _happened(self, key: str) -> None:
        self._engine.conductor.outside(frozenset({key}))
        self._publish()

    def _tell(self, news: News) -> None:
        """Count first, then fire, so that filters and loggers see the new count."""
        event = EVENTS[news.happening]
        self._count()
        self._publish()
        self._trainer.state.sleep_news = news
        self._trainer.fire_event(event)

    def _count(self) -> None:
        """How often each event was fired, also before the run was resumed."""
        for kind, event in EVENTS.items():
            name = f"sleep_{event.value}"
            setattr(self._trainer.state, name, self._engine.firing.happened[kind])

    def _publish(self) -> None:
        state, store, scope = self._trainer.state, self._engine.store, self._engine.scope
        seen = (id(state), id(store), store.version)
        if seen == self._published and "sleep_frozen" in vars(state):
            return
        self._published = seen
        total = sum(store.numel(name) for name in scope)
        asleep = sum(store.asleep_count(name) for name in scope)
        state.sleep_fraction = asleep / total if total else 0.0
        state.sleep_asleep = asleep
        state.sleep_awake = total - asleep
        state.sleep_frozen = sum(store.frozen_count(name) for name in scope)
