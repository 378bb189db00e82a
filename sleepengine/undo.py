"""Undo: what a transaction overwrote, kept until the next optimizer step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.masks.store import MaskStore


class PreImage:
    """The tensors that a transaction is about to write, as they are now.

    Weights, parked values and optimizer state of the touched parameters; buffers and LR schedules
    too when the transaction writes values. Putting it back is bit-exact as long as no step was
    taken since.
    """

    def __init__(self, live: Live, touched: set[str], everything: bool) -> None:
        names = set(live.params) if everything else touched
        self.masks: MaskStore = live.store.fork()
        self._weights = {n: live.params[n].detach().clone() for n in names}
        self._parked = {n: copy.deepcopy(live.parked[n].state_dict()) for n in names}
        self._state = copy.deepcopy(live.state.state_dict())
        self._moments: list[tuple[Any, str, dict[str, Any]]] = []
        for optimizer in live.optimizers:
            for name in sorted(names):
                parameter = live.params[name]
                if parameter in optimizer.state:
                    self._moments.append(
                        (optimizer, name, _cloned(dict(optimizer.state[parameter])))
                    )
        self._groups = [
            [{k: v for k, v in g.items() if k != "params"} for g in o.param_groups]
            for o in live.optimizers
        ]
        self._everything = everything
        self._buffers = (
            {n: b.detach().clone() for n, b in live.buffers().items()} if everything else {}
        )
        self._schedulers = (
            [copy.deepcopy(s.state_dict()) for s in live.schedulers] if everything else []
        )
        self._samplers = (
            [copy.deepcopy(s.state_dict()) for s in live.samplers] if everything else []
        )

    @torch.no_grad()
    def put_back(self, live: Live) -> set[str]:
        """Write everything back; returns the names whose masks must be put in force again."""
        touched = live.store.diff(self.masks).names()
        live.store.adopt(self.masks)
        for name, value in self._weights.items():
            live.params[name].copy_(value)
            live.parked[name].load_state_dict(self._parked[name])
        live.state.load_state_dict(self._state)
        for optimizer, name, state in self._moments:
            optimizer.state[live.params[name]] = _cloned(state)
        if self._everything:
            for optimizer, groups in zip(live.optimizers, self._groups, strict=True):
                for group, saved in zip(optimizer.param_groups, groups, strict=True):
                    group.update(copy.deepcopy(saved))
            for name, buffer in live.buffers().items():
                buffer.copy_(self._buffers[name])
            for scheduler, kept in zip(live.schedulers, self._schedulers, strict=True):
                scheduler.load_state_dict(kept)
            for sampler, order in zip(live.samplers, self._samplers, strict=True):
                sampler.load_state_dict(order)
        return touched


def _cloned(state: dict[str, Any]) -> dict[str, Any]:
    return {k: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in state.items()}
