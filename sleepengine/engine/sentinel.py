"""The sentinel: looks every N steps whether masks hold, and says by name where they do not."""

from __future__ import annotations

from math import inf

from schedules import preview
from sleepengine.actions.live import Live
from sleepengine.choosing.amounts import To
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.errors import LeakError, ScheduleError, SetupError
from sleepengine.firing.agenda import Agenda
from sleepengine.names import named_parameters


class Sentinel:
    """Raises with names when a mask leaks, a parameter was replaced or a schedule falls short.

    One pass over the masked tensors every `every` ticks; 0 switches it off.
    """

    def __init__(self, live: Live, enforcer: Enforcer, every: int) -> None:
        if every < 0:
            raise SetupError(f"check_every={every!r}: give a number of ticks, or 0 for never")
        self._live = live
        self._enforcer = enforcer
        self.every = every

    def next_look(self, iteration: int) -> float:
        """The tick after this one at which it looks."""
        return (iteration // self.every + 1) * self.every if self.every else inf

    def tick(self, iteration: int) -> None:
        """Look when it is time to.

        Raises:
            LeakError: a sleeping weight is not +0.0, or a frozen one moved.
        """
        if self.every and iteration % self.every == 0 and self._live.store.entries():
            self.look()

    def look(self) -> None:
        """Look now.

        Raises:
            LeakError: a sleeping weight is not +0.0, a frozen one moved, or a parameter of the
                model was replaced by another object, so that nothing holds its mask.
        """
        current = named_parameters(self._live.model)
        replaced = [n for n, p in self._live.params.items() if current.get(n) is not p]
        if replaced:
            raise LeakError(
                f"{', '.join(replaced[:8])}: the model holds another Parameter object than at "
                "attach (load_state_dict(assign=True)?). Detach before, attach after such a change."
            )
        again = self._enforcer.leaks_again()
        leaks = self._enforcer.leaks()
        if again and not leaks:
            told = "; ".join(str(leak) for leak in again[:8])
            raise LeakError(
                f"{told}: so it was when steps began, and each time put right. Something writes "
                "weights between the steps: an optimizer that was not given to the engine, or code "
                "of your own that should call engine.repair() after it."
            )
        if leaks:
            told = "; ".join(str(leak) for leak in leaks[:8])
            raise LeakError(
                f"{told}. Something wrote weights or gradients past the hooks (p.data, "
                "p.grad.data, or an optimizer that was not given to the engine); engine.repair() "
                "puts it right."
            )

    def foresee(self, agenda: Agenda) -> None:
        """Whether every schedule will reach its target in a run whose length is known.

        Raises:
            ScheduleError: a rule would never fire, or its curve would be cut short.
        """
        start = agenda.time.clock()
        if not self.every or start.total_steps is None:
            return
        for rule in agenda.rules:
            if not rule.when.time_only:
                continue
            rows = preview([rule], start.total_steps, start.steps_per_epoch)
            if not rows:
                raise ScheduleError(
                    f"rule {rule.name!r}: {rule.when!r} never fires in {start.total_steps} steps"
                )
            amount = None if rule.who is None else rule.who.amount
            if not isinstance(amount, To):
                continue
            last, target = rows[-1].target, amount.target(1.0)
            if last is not None and abs(last - target) > 1e-9:
                raise ScheduleError(
                    f"rule {rule.name!r}: {rule.when!r} fires last at step {rows[-1].step} with "
                    f"{last:.6g}, short of its target {target:.6g}; the run has "
                    f"{start.total_steps} steps"
                )

    def reached(self, agenda: Agenda) -> None:
        """Whether every schedule fired; asked at the end of a run.

        Raises:
            ScheduleError: naming the rule.
        """
        for rule in agenda.rules if self.every else ():
            clock = agenda.time.clock(rule.name)
            if rule.when.time_only and clock.last_fired is None:
                raise ScheduleError(
                    f"rule {rule.name!r} never fired: {rule.when!r} came up at none of the "
                    f"{clock.iteration} steps that were run"
                )
