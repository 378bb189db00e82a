"""A plain loop: the optimizer's own step hooks are the ticks; not a line of the loop changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch.optim import Optimizer

from sleepengine.attachment.first_gradient import FirstGradient
from sleepengine.errors import SetupError
from sleepengine.firing.agenda import reads_gradients
from sleepengine.rules.rule import Rule

if TYPE_CHECKING:
    from sleepengine.engine.sleep_engine import SleepEngine


class Driver(Protocol):
    """What ties an engine to a loop."""

    def attach(self) -> None:
        """Begin."""
        ...

    def detach(self) -> None:
        """Leave nothing behind."""
        ...


class PlainLoop:
    """A tick is a completed step of the first optimizer."""

    def __init__(
        self, engine: SleepEngine, steps_per_epoch: int | None, total_steps: int | None
    ) -> None:
        self._engine = engine
        for label, value in (("steps_per_epoch", steps_per_epoch), ("total_steps", total_steps)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise SetupError(f"attach({label}={value!r}): must be a positive int")
        engine.time.steps_per_epoch = steps_per_epoch
        engine.time.total_steps = total_steps
        self._first = FirstGradient(engine.live.optimizers, engine.conductor.points.begin_step)

    def attach(self) -> None:
        """Check, hook the optimizers, fire what is due before the first step."""
        self._engine.conductor.agenda.check()
        for rule in self._engine.rules:
            if rule.when.events and _waits_for_ignite(rule):
                raise SetupError(
                    f"rule {rule.name!r}: {rule.when!r} waits for an Ignite event, but no trainer "
                    "was given: attach(trainer)"
                )
            if not self._engine.live.optimizers and self._never_ticks(rule):
                raise SetupError(
                    f"rule {rule.name!r}: {rule.when!r} waits for steps, and the ticks of a plain "
                    "loop are the steps of an optimizer: give optimizer="
                )
        self._engine.conductor.points.wait = self._first.watch
        self._engine.conductor.take_hold(self._before, self._after, self._begins)
        try:
            self._engine.conductor.begin()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Unhook."""
        self._first.forget()
        self._engine.conductor.points.wait = lambda: None
        self._engine.conductor.let_go()

    def _never_ticks(self, rule: Rule) -> bool:
        """Whether the rule could not fire at attach, nor when a metric is told."""
        if reads_gradients(rule):
            return True
        return not rule.when.metrics | rule.when.events and not rule.when(
            self._engine.time.clock(rule.name)
        )

    def _begins(self, optimizer: Optimizer) -> None:
        if optimizer is self._engine.live.optimizers[0]:
            self._first.forget()
            self._engine.conductor.points.begin_step()

    def _before(self, optimizer: Optimizer) -> None:
        self._engine.conductor.before_step(optimizer)

    def _after(self, optimizer: Optimizer) -> None:
        self._engine.firing.forget_undo()
        if optimizer is self._engine.live.optimizers[0]:
            self._engine.conductor.tick()


def _waits_for_ignite(rule: Rule) -> bool:
    from sleepengine.attachment.ignite_events import ignite_triggers

    return bool(ignite_triggers(rule.when))
