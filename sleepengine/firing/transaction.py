"""One transaction per firing: rules that fire together see, and leave, one net change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.actions.node_values import fresh_statistics
from sleepengine.actions.values import Fresh, Parked, ValuePolicy, Zero
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.policies import ParkState, StatePolicy
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.sides import Side

_AS_PARKED = {
    ParkState.NONE: StatePolicy.ZERO,
    ParkState.SECOND: StatePolicy.KEEP,
    ParkState.ALL: StatePolicy.PARKED,
}


@dataclass(frozen=True)
class _Waking:
    """Which entries one action woke, and how they are to come back."""

    choice: Choice
    value: ValuePolicy
    state: StatePolicy


class Transaction:
    """Masks change at once in a working copy; tensors change once, at `commit`.

    So a weight that is dropped and regrown within one firing keeps its value and its momentum,
    and an error in any rule leaves everything as it was.
    """

    def __init__(self, live: Live, enforcer: Enforcer, step: int) -> None:
        self.live = live
        self.step = step
        self.store: MaskStore = live.store.fork()
        self.nodes = live.nodes.fork()
        self.node_changes = Changes(*[Choice.empty()] * 4)
        self._enforcer = enforcer
        self._wakings: list[_Waking] = []
        self._afterwards: list[Callable[[Live], None]] = []
        self._updates: dict[str, Tensor] = {}

    def sleep(self, choice: Choice) -> Choice:
        """Put the chosen weights or nodes to sleep in the working copy."""
        if choice.layer is Layer.NODES:
            return self.nodes.sleep(choice, self.store)
        return self.store.sleep(choice)

    def wake(
        self,
        choice: Choice,
        value: ValuePolicy,
        state: StatePolicy,
        outgoing: ValuePolicy | None = None,
    ) -> Choice:
        """Wake the chosen in the working copy; the last policy named for a weight holds."""
        for policy in (value, outgoing or value):
            policy.check(self.live, choice.names if choice.layer is Layer.WEIGHTS else ())
        self.live.state.check(state)
        if choice.layer is Layer.WEIGHTS:
            woke = self.store.wake(choice)
            self._wakings.append(_Waking(woke, value, state))
            return woke
        woke = self.nodes.wake(choice, self.store)
        self._wakings.append(_Waking(woke, value, state))
        if isinstance(value, Zero):  # a factor of zero would keep the incoming side from learning
            norms = woke.intersection(self.nodes.norm_entries(choice))
            self._wakings.append(_Waking(norms, Parked(), state))
        readers = woke.intersection(self.nodes.entries(choice, Side.OUTGOING))
        self._wakings.append(_Waking(readers, outgoing or value, state))
        if isinstance(value, Fresh):
            self.afterwards(lambda live: fresh_statistics(live, choice))
        return woke

    def freeze(self, choice: Choice) -> Choice:
        """Freeze the chosen weights or nodes in the working copy."""
        if choice.layer is Layer.NODES:
            return self.nodes.freeze(choice, self.store)
        return self.store.freeze(choice)

    def thaw(self, choice: Choice) -> Choice:
        """Thaw the chosen weights or nodes in the working copy."""
        if choice.layer is Layer.NODES:
            return self.nodes.thaw(choice, self.store)
        return self.store.thaw(choice)

    def entries(self, nodes: Choice) -> Choice:
        """Everything that belongs to chosen nodes."""
        return self.nodes.entries(nodes)

    def become(self, masks: MaskStore, value: ValuePolicy, state: StatePolicy) -> Changes:
        """Make the working copy equal to `masks`; what wakes gets the given policies."""
        changes = self.store.adopt(masks)
        self.nodes.follow(self.store)
        self._wakings.append(_Waking(changes.woke, value, state))
        return changes

    def require(self, check: Callable[[Live], None]) -> None:
        """Raise now what `check` raises, before anything is changed."""
        check(self.live)

    def afterwards(self, act: Callable[[Live], None]) -> None:
        """Write values once the masks are in force."""
        self._afterwards.append(act)

    def compensate(self, update: Mapping[str, Tensor]) -> None:
        """Let weights that may train gain this, unless a later rule puts them to sleep."""
        for name, gain in update.items():
            free = self.store.trainable(name)
            gain = gain if free is None else gain.masked_fill(~free, 0)
            self._updates[name] = self._updates[name] + gain if name in self._updates else gain

    def changed(self) -> dict[str, Tensor]:
        """The weights that differ so far, as they will be; what wakes still counts as 0."""
        found: dict[str, Tensor] = {}
        for name in self.written():
            value, awake = self.live.params[name].detach().clone(), self.store.awake(name)
            if name in self._updates:
                value += self._updates[name]
            found[name] = value if awake is None else value.masked_fill_(~awake, 0)
        return found

    @property
    def writes_values(self) -> bool:
        """Whether any action writes values beside what masks do."""
        return bool(self._afterwards)

    def touched(self) -> set[str]:
        """Names whose masks differ from the live ones."""
        return self.live.store.diff(self.store).names()

    def stopping(self, name: str) -> Tensor | None:
        """Packed bits of the entries that train now and will not; None when there are none."""
        return _training_changes(self.live.store, self.store, name)[0]

    def written(self) -> set[str]:
        """Names whose masks or survivors change."""
        return self.touched() | set(self._updates)

    @torch.no_grad()
    def commit(self) -> Changes:
        """Bring weights, gradients and optimizer state in line with the working copy.

        Returns:
            The net change of all actions together.
        """
        live, before, touched = self.live, self.live.store.fork(), self.touched()
        held = self._enforcer.is_attached  # else optimizer state holds, and keeps, its true values
        changes = live.store.adopt(self.store)
        self.node_changes = live.nodes.store.adopt(self.nodes.store)
        live.held.hold(live.nodes.held())
        for name in touched:
            rest, rise = _training_changes(before, live.store, name)
            if rest is not None and held:
                live.state.park(name, rest)
            if name in changes.slept:
                if held:
                    self._fill_again(name, changes.slept.bits(name), before.frozen_bits(name))
                live.parked[name].park_and_clear_(live.params[name], changes.slept.bits(name))
            if name in changes.woke:
                self._write_woken(name, changes.woke.bits(name))
            if rise is not None:
                self._release(name, rise)
        self._gain()
        live.event += 1
        self._enforcer.sync(touched)
        for act in self._afterwards:
            act(live)
        if self._afterwards:
            self._enforcer.accept(live.store.entries())
        self._enforcer.accept(self._updates)
        self._enforcer.mask_pending_gradients(touched)
        torch.clear_autocast_cache()  # a cached low-precision copy would still hold the old masks
        return changes

    def _gain(self) -> None:
        """Move the survivors; entries that gain nothing keep their bits."""
        for name, gain in self._updates.items():
            parameter, free = self.live.params[name], self.live.store.trainable(name)
            moved = gain != 0 if free is None else (gain != 0) & free
            parameter.copy_(torch.where(moved, parameter + gain, parameter))

    def _shares(self, name: str, where: Tensor) -> list[tuple[_Waking | None, Tensor]]:
        """Split `where` by the action that woke each entry last; None: no action did."""
        shares: list[tuple[_Waking | None, Tensor]] = []
        for waking in reversed(self._wakings):
            if name in waking.choice:
                now = bits.bit_and(where, waking.choice.bits(name).to(where.device))
                if bits.any_set(now):
                    shares.append((waking, now))
                    where = bits.bit_andnot(where, now)
        if bits.any_set(where):
            shares.append((None, where))
        return shares

    def _write_woken(self, name: str, woke: Tensor) -> None:
        for waking, where in self._shares(name, woke):
            policy = Parked() if waking is None else waking.value
            policy.write(self.live, name, where)
        self.live.parked[name].discard(woke)

    def _fill_again(self, name: str, slept: Tensor, frozen: Tensor | None) -> None:
        """Frozen entries that fall asleep: weight decay has moved the state they rest with."""
        drowsy = None if frozen is None else bits.bit_and(slept, frozen)
        if drowsy is not None and bits.any_set(drowsy):
            self.live.state.release(name, drowsy, _AS_PARKED[self.live.state.keeps])
            self.live.state.park(name, drowsy)

    def _release(self, name: str, rise: Tensor) -> None:
        for waking, where in self._shares(name, rise):
            policy = StatePolicy.KEEP if waking is None else waking.state
            if self._enforcer.is_attached:
                self.live.state.release(name, where, policy)
            else:
                self.live.state.renew(name, where, policy)


def _training_changes(
    before: MaskStore, after: MaskStore, name: str
) -> tuple[Tensor | None, Tensor | None]:
    """Entries that stopped training and entries that began to, as packed bits."""
    full = bits.full(before.numel(name), before.device(name))
    was, now = before.trainable_bits(name), after.trainable_bits(name)
    was, now = full if was is None else was, full if now is None else now
    rest, rise = bits.bit_andnot(was, now), bits.bit_andnot(now, was)
    return (rest if bits.any_set(rest) else None), (rise if bits.any_set(rise) else None)
