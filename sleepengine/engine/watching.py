"""Which backward and forward passes are watched: those that a rule will read."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.firing.agenda import Agenda
from sleepengine.firing.firing import Firing


class Watching:
    """Plans the coming step: gradients are kept and layers hooked only where a rule asks.

    scope: the parameters whose gradients a rule may ask for.
    """

    def __init__(
        self, live: Live, enforcer: Enforcer, agenda: Agenda, firing: Firing, scope: Sequence[str]
    ) -> None:
        self._live = live
        self._enforcer = enforcer
        self._agenda = agenda
        self._firing = firing
        self._scope = scope
        self._armed = False  # whether dense gradients are kept
        self._seen: dict[str, tuple[weakref.ref[Tensor], int]] = {}  # gradients at the last plan

    def plan(self) -> None:
        """Watch the coming forward and backward passes if a rule will read them."""
        if self._armed:
            self._enforcer.disarm()
        self._armed = self._agenda.wants_gradients()
        watched = self._agenda.wants_passes()
        self._live.planned(self._armed or bool(watched))
        if self._armed:
            self._enforcer.arm(self._scope)
        if not self._agenda.watches:
            return
        self._firing.gatherer.watch([(rule, self._firing.scope_of(rule)) for rule in watched])
        self._seen = {n: (weakref.ref(grad), grad._version) for n, grad in self._gradients()}

    def backward_began(self) -> bool:
        """Whether a gradient was written since the last plan: too late to watch that backward."""
        for name, grad in self._gradients():
            seen = self._seen.get(name)
            if seen is None or seen[0]() is not grad or seen[1] != grad._version:
                return True
        return False

    def _gradients(self) -> list[tuple[str, Tensor]]:
        grads = ((name, self._live.params[name].grad) for name in self._scope)
        return [(name, grad) for name, grad in grads if grad is not None]
