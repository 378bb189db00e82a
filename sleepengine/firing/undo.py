"""Undo: what a transaction overwrote, kept until the next optimizer step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.firing.memories import Memories
from sleepengine.firing.pending_gradient import PendingGradient
from sleepengine.firing.transaction import Transaction
from sleepengine.masks.store import MaskStore


class PreImage:
    """What a transaction is about to write, as it is now.

    Weights, parked values, optimizer state and pending gradients of the touched parameters; if an
    action writes values, of all parameters, and buffers, LR schedules and data order too. Putting
    it back is bit-exact as long as no step was taken since.

    memories: what rules remembered, once the transaction is about to tell them.
    """

    def __init__(self, live: Live, transaction: Transaction) -> None:
        everything, touched = transaction.writes_values, transaction.written()
        names = set(live.params) if everything else touched
        self.memories: Memories | None = None
        self._gradients = [
            PendingGradient(live.params[name], stopping)
            for name in transaction.touched()
            if (stopping := transaction.stopping(name)) is not None
        ]
        self._masks: MaskStore = live.store.fork()
        self._nodes: MaskStore = live.nodes.store.fork()
        self._statistics = live.held.image(live.nodes.buffers)
        self._weights = {n: live.params[n].detach().clone() for n in names}
        self._parked = {n: live.parked[n].copy() for n in names}
        self._state = live.state.image(names)
        self._event = live.event
        self._rewound = live.rewound
        self._everything = everything
        if not everything:
            return
        self._groups = [
            [{k: copy.copy(v) for k, v in g.items() if k != "params"} for g in o.param_groups]
            for o in live.optimizers
        ]
        self._buffers = {n: b.detach().clone() for n, b in live.buffers().items()}
        self._schedules = [copy.deepcopy(s.state_dict()) for s in live.schedulers]
        self._orders = [copy.deepcopy(s.state_dict()) for s in live.samplers]

    def committed(self) -> None:
        """Pending gradients are masked now; who writes into them later owns them."""
        for gradient in self._gradients:
            gradient.masked()

    def moved(self, old: Tensor, new: Tensor) -> None:
        """A gradient has another size now."""
        for gradient in self._gradients:
            gradient.moved(old, new)

    def put_gradients_back(self) -> None:
        """Pending gradients as they were, once the masks are; those made since stay."""
        for gradient in self._gradients:
            gradient.put_back()

    @torch.no_grad()
    def put_back(self, live: Live) -> set[str]:
        """Write everything back; returns the names whose masks must be put in force again."""
        touched = live.store.diff(self._masks).names() | set(self._weights)
        live.store.adopt(self._masks)
        live.nodes.store.adopt(self._nodes)
        live.held.put_back(self._statistics)
        live.event = self._event
        live.rewound = self._rewound
        for name, value in self._weights.items():
            live.params[name].copy_(value)
            live.parked.replace(name, self._parked[name])
        live.state.put_back(self._state)
        if self._everything:
            self._put_back_the_rest(live)
        return touched

    def _put_back_the_rest(self, live: Live) -> None:
        for optimizer, groups in zip(live.optimizers, self._groups, strict=True):
            for group, saved in zip(optimizer.param_groups, groups, strict=True):
                group.update(saved)
        for name, buffer in live.buffers().items():
            buffer.copy_(self._buffers[name])
        for scheduler, kept in zip(live.schedulers, self._schedules, strict=True):
            scheduler.load_state_dict(kept)
        for sampler, order in zip(live.samplers, self._orders, strict=True):
            sampler.load_state_dict(order)
