"""The parameters under watch: those with inactive entries, and those whose gradient is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.enforcement.bit_masks import Expander
from sleepengine.enforcement.frozen_values import frozen_awake
from sleepengine.enforcement.leaks import Leak, LeakLog, find_leak
from sleepengine.enforcement.roster import Member, Roster
from sleepengine.enforcement.watched import Watched
from sleepengine.masks.store import MaskStore


@final
class WatchList:
    """Name -> watched parameter; a parameter with nothing to do is not in it and costs nothing.

    Args:
        store: which entries are asleep and frozen.
        roster: the parameters and their optimizers.
        lean: keep no expanded masks.
    """

    def __init__(self, store: MaskStore, roster: Roster, lean: bool) -> None:
        self._store = store
        self._roster = roster
        self._lean = lean
        self._watched: dict[str, Watched] = {}
        self._pairs: dict[int, tuple[tuple[Member, ...], list[tuple[Member, Watched]]]] = {}
        self._expanders: dict[torch.device, Expander] = {}
        self._registers = False
        self._armed = False

    def __bool__(self) -> bool:
        return bool(self._watched)

    def __iter__(self) -> Iterator[Watched]:
        return iter(list(self._watched.values()))

    @property
    def store(self) -> MaskStore:
        """The masks."""
        return self._store

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the watched parameters."""
        return tuple(self._watched)

    def register(self) -> None:
        """Hook gradients from now on."""
        self._registers = True
        for watched in self:
            watched.register()

    def accept(self, names: Iterable[str]) -> None:
        """Values of these were written on purpose: frozen ones are captured anew."""
        for watched in self.among(names):
            watched.keep_frozen(frozen_awake(self._store, watched.name), anew=True)
            watched.look()

    def look(self) -> None:
        """All values are as they should be now."""
        for watched in self:
            watched.look()

    def pause(self) -> None:
        """Remove every hook; masks and kept values stay for the next `register`."""
        for watched in self:
            watched.remove()
        self._registers = False

    def clear(self) -> None:
        """Remove every hook and forget everything."""
        for watched in self:
            watched.remove()
        self._watched, self._pairs = {}, {}
        self._registers = self._armed = False

    def among(self, names: Iterable[str] | None) -> list[Watched]:
        """The watched parameters among these names; None = all."""
        if names is None:
            return list(self)
        return [self._watched[name] for name in names if name in self._watched]

    def now(self, optimizer: Optimizer) -> list[tuple[Member, Watched]]:
        """What `of` found last, within one step of the optimizer."""
        if not self._watched:
            return []
        known = self._pairs.get(id(optimizer))
        return self.of(optimizer) if known is None else known[1]

    def of(self, optimizer: Optimizer) -> list[tuple[Member, Watched]]:
        """The watched parameters that the optimizer steps."""
        members = self._roster.members(self._roster.index(optimizer))
        known = self._pairs.get(id(optimizer))
        if known is None or known[0] is not members:
            pairs = [(m, self._watched[m.name]) for m in members if m.name in self._watched]
            known = self._pairs[id(optimizer)] = (members, pairs)
        return known[1]

    def sync(self, name: str) -> None:
        """Follow the store: masks, frozen values and the hook of one parameter."""
        trainable = self._store.trainable_bits(name)
        if trainable is None and name not in self._watched:
            return
        watched = self.watch(name)
        asleep = self._store.asleep_bits(name)
        watched.set_masks(trainable, asleep, self._expander(watched.param), self._lean)
        watched.keep_frozen(frozen_awake(self._store, name))
        watched.look()
        self.forget_idle(watched)

    def watch(self, name: str) -> Watched:
        """The watched parameter, put on the list if it is not there.

        Raises:
            UnknownNameError: there is no such parameter.
        """
        watched = self._watched.get(name)
        if watched is None:
            watched = self._watched[name] = Watched(name, self._roster.param(name))
            self._pairs = {}
        if self._registers:
            watched.register()
        return watched

    def forget_idle(self, watched: Watched) -> None:
        """Take a parameter with nothing to do off the list."""
        if watched.is_idle:
            watched.remove()
            del self._watched[watched.name]
            self._pairs = {}

    def repair_written(self, optimizer: Optimizer, log: LeakLog) -> None:
        """Before a step: repair what others wrote since the last one, and note what leaked."""
        step = log.step(self._roster.index(optimizer))
        for _, watched in self.of(optimizer):
            if watched.value_version != watched.param._version:
                leak = find_leak(
                    watched.name,
                    watched.param,
                    self._store.asleep_bits(watched.name),
                    watched.frozen,
                )
                if leak is not None:
                    log.note(leak, step)
                watched.repair(lean=self._lean)

    def settle(self) -> None:
        """Repair what others wrote since our last look."""
        for watched in self:
            if watched.was_written():
                watched.repair(lean=self._lean)
                watched.look()

    def arm(self, names: Iterable[str]) -> None:
        """Keep the dense gradients of these from now on."""
        for name in names:
            self.watch(name).arm()
            self._armed = True

    def captured(self) -> dict[str, Tensor]:
        """Name -> dense gradient since `arm`, where a backward pass left one."""
        if not self._armed:
            return {}
        found = {watched.name: watched.dense_gradient() for watched in self}
        return {name: grad for name, grad in found.items() if grad is not None}

    def unscale(self, factor: Tensor) -> None:
        """Dense gradients that came by backward passes, times a factor; each once."""
        if self._armed:
            for watched in self:
                watched.unscale(factor)

    def disarm(self) -> None:
        """Forget the dense gradients, and the hooks that only they needed."""
        self._armed = False
        for watched in self:
            watched.disarm()
            self.forget_idle(watched)

    def leaks(self) -> list[Leak]:
        """Entries that broke their mask, by parameter."""
        found = (
            find_leak(one.name, one.param, self._store.asleep_bits(one.name), one.frozen)
            for one in self.among(name for name in self._store.names() if name in self._watched)
        )
        return [leak for leak in found if leak is not None]

    def frozen_values(self) -> dict[str, Any]:
        """Name -> values of its frozen entries, to be saved."""
        return {one.name: one.frozen.state_dict() for one in self if one.frozen is not None}

    def _expander(self, param: Tensor) -> Expander:
        if param.device not in self._expanders:
            self._expanders[param.device] = Expander(param.device)
        return self._expanders[param.device]


def keeps_values(members: Iterable[tuple[Member, Watched]]) -> bool:
    """Whether any of these has frozen values to keep; a plain loop, since every step asks."""
    for _, watched in members:  # noqa: SIM110
        if watched.frozen is not None:
            return True
    return False
