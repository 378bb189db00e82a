"""The sentinel: looks every N steps whether masks hold, and says by name where they do not."""

from __future__ import annotations

from sleepengine.actions.live import Live
from sleepengine.agenda import Agenda
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.errors import LeakError, ScheduleError
from sleepengine.names import named_parameters

class Sentinel:
    """Raises with names when a mask leaks, a parameter was replaced or a schedule falls short.

    One pass over the masked tensors every `every` ticks; 0 switches it off.
    """

    def __init__(self, live: Live, enforcer: Enforcer, every: int) -> None:
        self._live = live
        self._enforcer = enforcer
        self.every = every

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
        leaks = self._enforcer.leaks()
        if leaks:
            told = "; ".join(str(leak) for leak in leaks[:8])
            raise LeakError(
                f"{told}. Something wrote weights or gradients past the hooks (p.data, p.grad.data, "
                "or an optimizer that was not given to the engine)."
            )

    def reached(self, agenda: Agenda) -> None:
        """Whether every schedule that has ended reached its target; asked at the end of a run.

        Raises:
            ScheduleError: naming the rule, its target and what was reached.
        """
        for rule in agenda.rules:
            clock = agenda.time.clock(rule.name)
            amount = None if rule.who is None else rule.who.amount
            if amount is None or not rule.when.time_only:
                continue
            if rule.when.span(clock) is None or clock.last_fired is not None:
                continue
            raise ScheduleError(
                f"rule {rule.name!r} never fired: {rule.when!r} came up to no tick of the "
                f"{clock.iteration} that were run"
            )
