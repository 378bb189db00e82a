"""The order of things around each step: what the drivers of plain loops and trainers call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.optim import Optimizer

from sleepengine.actions.live import Live
from sleepengine.enforcement.hooks import Callback, Enforcer
from sleepengine.engine.beginning import Beginning
from sleepengine.engine.holders import Hold
from sleepengine.engine.points import KeptTimes, Points
from sleepengine.engine.scaling import Scaling
from sleepengine.engine.sentinel import Sentinel
from sleepengine.engine.watching import Watching
from sleepengine.firing.agenda import (
    Agenda,
    observes_early,
    reads_gradients,
    reads_passes,
    waits_for_passes,
)
from sleepengine.firing.firing import Firing
from sleepengine.masks.planes import Changes
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper


class Conductor:
    """begin, then per step: before_step, (the optimizer's own step), tick; end."""

    def __init__(
        self,
        live: Live,
        enforcer: Enforcer,
        time: Timekeeper,
        agenda: Agenda,
        firing: Firing,
        sentinel: Sentinel,
        kept_times: KeptTimes,
        scope: Sequence[str],
    ) -> None:
        self.live = live
        self.enforcer = enforcer
        self.time = time
        self.agenda = agenda
        self.firing = firing
        firing.rules = agenda.rules
        self.sentinel = sentinel
        self.points = Points(live, time, kept_times)
        self.scaling = Scaling(live, enforcer, agenda.rules)
        self._hold: Hold | None = None
        self.beginning = Beginning(live)
        self._overflowed = False  # whether the step under way changes nothing: gradients are inf
        self._watching = Watching(live, enforcer, agenda, firing, scope)
        self._since_step = 0  # ticks since the last optimizer step
        self._stepped = False  # whether any optimizer step was taken
        self._at_start: tuple[Rule, ...] = ()  # due at the start, and waiting for gradients
        self._quiet_until = 0.0  # an earlier tick has nothing to do, unless a rule waits

    def take_hold(self, before: Callback, after: Callback, begins: Callback | None = None) -> None:
        """Hook gradients and optimizers, and bring weights and state in line with the masks."""
        if self._hold is not None:
            self._hold.release()
        names = {n for rule in self.agenda.rules for n in self.firing.scope_of(rule)}
        self._hold = Hold(self.live, self.agenda.rules, names.union(self.firing.scope))
        self._quiet_until = 0
        self.firing.forget_undo()
        self.live.rest()
        self.enforcer.attach(before, after, begins)
        self.beginning.start()
        written = [leak.name for leak in self.enforcer.leaks()]
        self.enforcer.repair()
        self.beginning.cleared(written)

    def let_go(self) -> None:
        """Remove every hook; optimizer state holds its true values again."""
        self.firing.forget_undo()
        self.firing.gatherer.stop()
        self.beginning.over()
        if self._hold is not None:
            self._hold.release()
        self.enforcer.detach()
        self.live.state.detach()
        self.points.begin_step()  # nothing else will

    def begin(self) -> None:
        """Before the first step: check the rules against the clock, fire what is due at once."""
        self._stepped, self._quiet_until = self.time.iteration > 0, 0
        self.agenda.check()
        self.sentinel.foresee(self.agenda)
        self.points.look()
        if self.agenda.looked != self.time.iteration:  # attached again: this tick has been asked
            self.agenda.look()
        self.beginning.rules_act()
        self._fire_ready(None)
        self.beginning.rules_acted()
        self._at_start = tuple(self.agenda.waiting)
        self._watching.plan()

    def loaded(self) -> None:
        """The engine's state was replaced while it is attached: plan the next step anew."""
        self._quiet_until = 0
        self.live.rest()
        self._stepped, self._since_step = self.time.iteration > 0, 0
        self.points.await_step()
        self._watching.plan()

    def before_step(self, optimizer: Optimizer) -> None:
        """Between backward and step: let scorers look, fire the rules that act there.

        The steps of the first optimizer count.
        """
        self.firing.forget_undo()
        if not self.agenda.waiting and not self.agenda.watches:  # nobody reads, nothing is due
            self._overflowed = False
            return
        self.scaling.unscale()
        if optimizer is not self.live.optimizers[0]:
            return
        captured = self.enforcer.captured() or None
        self._overflowed = captured is not None and not self.scaling.usable(optimizer, captured)
        self.time.between = True
        try:
            self._act_before_step(None if self._overflowed else captured)
        finally:
            self.time.between = False

    def _act_before_step(self, captured: Mapping[str, Tensor] | None) -> None:
        if captured is not None:
            looking = [rule for rule in self.agenda.observers if observes_early(rule)]
            self.firing.observe([r for r in looking if self.agenda.observed(r, ahead=1)], captured)
        early = [
            rule
            for rule in self.agenda.waiting
            # "0it" is before the first step: what waits for its gradients acts as soon as they are
            # there, not after the step.
            if (rule.at == "before_step" and not (self._overflowed and reads_gradients(rule)))
            or (rule in self._at_start and not self._stepped and self._can_read(rule, captured))
        ]
        if not early:
            return
        due = self.agenda.take(early)
        self._fire(due, captured)
        if any(rule.skip_step for rule in due):
            for optimizer in self.live.optimizers:
                self.enforcer.hold_step(optimizer)

    def _can_read(self, rule: Rule, captured: Mapping[str, Tensor] | None) -> bool:
        seen = self.firing.gatherer.saw(rule) or not waits_for_passes(rule)
        return seen and (captured is not None or not reads_gradients(rule))

    def tick(self, stepped: bool = True) -> None:
        """One tick is over: fire what is due, let scorers observe, plan the next.

        Whatever a rule or a handler raises, the next step is planned: a loop may go on from there.
        """
        self.time.iteration += 1
        self._since_step += 1
        quiet = self.time.iteration < self._quiet_until
        if quiet and not self.agenda.waiting and not self.points.pending:
            self.agenda.looked = self.time.iteration
            if stepped:
                self._stepped = True
                self.agenda.window, self._since_step = self._since_step, 0
                self.live.planned(False)
            return
        self._quiet_until = 0
        self.beginning.over()
        captured = (self.enforcer.captured() or None) if stepped else None
        captured = None if self._overflowed else captured
        if stepped:
            self.firing.gatherer.stop()
        in_loop, self.points.in_loop = self.points.in_loop, True
        try:
            self.points.look()
            self.agenda.look()
            self._fire_ready(captured)
            if stepped and self.agenda.observers:
                # After scoring: a scorer that compares with the last step must not see this twice.
                self._observe(captured)
        finally:
            self.points.in_loop = in_loop
            if stepped:
                self._stepped = True
                self.agenda.window, self._since_step = self._since_step, 0
                self._watching.plan()
        self.sentinel.tick(self.time.iteration)
        if self.points.complete:
            look = self.sentinel.next_look(self.time.iteration)
            self._quiet_until = min(self.agenda.quiet_until(), look)

    def _observe(self, captured: Mapping[str, Tensor] | None) -> None:
        seen = [
            rule
            for rule in self.agenda.observers
            if self.agenda.observed(rule)
            and not observes_early(rule)
            and (captured is not None or not reads_gradients(rule))
            and (not reads_passes(rule) or self.firing.gatherer.saw(rule))
        ]
        self.firing.observe(seen, captured)

    def fire(self, rules: Sequence[Rule]) -> Changes:
        """Fire these rules now, whatever their triggers say."""
        self.points.before_call()
        self.scaling.unscale()
        changes = self.firing.fire(rules, self.enforcer.captured() or None)
        self.points.after_call(rules)
        return changes

    def outside(
        self, events: frozenset[str] = frozenset(), metrics: frozenset[str] = frozenset()
    ) -> None:
        """A metric or an outside event arrived between ticks: fire what it triggers."""
        self.time.events(events)
        self.agenda.happened(events, metrics)
        self.time.events(frozenset())
        self._fire_ready(None)
        if self.agenda.watches and self._since_step == 0 and not self._watching.backward_began():
            self._watching.plan()

    def end(self) -> None:
        """The run is over: every schedule must have reached its target."""
        self.sentinel.reached(self.agenda)

    def restart(self) -> None:
        """Back to before the first step (a new level, a new run), as are memories; masks stay."""
        self._quiet_until = 0
        self.points.begin_step()
        self.time.restart()
        self.agenda.restart()
        for rule in self.agenda.rules:
            if rule.who is not None:
                for one in rule.who.filters:
                    one.restart()
                if rule.who.scorer is not None:
                    rule.who.scorer.reset()
        self._since_step = 0
        self._stepped = False

    def _fire_ready(self, captured: Mapping[str, Tensor] | None) -> None:
        ready: list[Rule] = self.agenda.take(
            self.agenda.ready(captured is not None, self.firing.gatherer.saw)
        )
        if ready:
            self._fire(ready, captured)

    def _fire(self, due: Sequence[Rule], captured: Mapping[str, Tensor] | None) -> None:
        """Rules whose transaction was taken back (an error, an interrupt) wait for another try."""
        done = self.firing.done
        try:
            self.firing.fire(due, captured)
        finally:
            if self.firing.done == done:
                self.agenda.give_back(due)
            else:
                self.points.fired(due)
