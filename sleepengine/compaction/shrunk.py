"""Small tensors in place of full ones, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.actions.live import Live
from sleepengine.compaction.cuts import Cut, Lines
from sleepengine.compaction.masks import small_masks
from sleepengine.compaction.plan import Plan
from sleepengine.compaction.states import States
from sleepengine.compaction.storage import put_storage
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.watch_list import WatchList
from sleepengine.errors import SetupError
from sleepengine.masks import bits as packed
from sleepengine.masks.store import MaskStore


@final
class Shrunk:
    """The live tensors are small; the full ones are kept here and get the awake entries back.

    What sleeps stands in the full tensors as it did in the model: weights as zeros (their values
    are parked as ever), optimizer state filled, running statistics held.
    """

    def __init__(self, live: Live, enforcer: Enforcer, plan: Plan) -> None:
        for name in plan.params:
            _check_gradient(live, name, plan.params[name])
        self.plan = plan
        self._live, self._enforcer = live, enforcer
        self._full = {name: live.params[name].data for name in plan.params}
        self._full_buffers = {name: live.held.buffer(name).data for name in plan.buffers}
        self._of = {
            **{id(live.params[n]): (self._full[n], cut) for n, cut in plan.params.items()},
            **{
                id(live.held.buffer(n)): (self._full_buffers[n], cut)
                for n, cut in plan.buffers.items()
            },
        }
        self._states = States(live, plan.params)
        self._sizes = [(one, getattr(one.module, one.attribute)) for one in plan.sizes]
        self._inactive: dict[str, Tensor] = {}
        self._watched: WatchList | None = None
        self._held: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def shrink(self) -> None:
        """Cut everything; values written by others are in line with the masks before.

        All memory is asked for first, so that an error leaves everything as it was.
        """
        live, plan = self._live, self.plan
        self._enforcer.settle()
        masks = small_masks(live, plan)
        parts = {name: cut.take(self._full[name]) for name, cut in plan.params.items()}
        grads = {name: live.params[name].grad for name in plan.params}
        small = {n: None if g is None else plan.params[n].take(g) for n, g in grads.items()}
        buffers = {n: cut.take(self._full_buffers[n]) for n, cut in plan.buffers.items()}
        self._states.cut()
        for name, part in parts.items():
            param = live.params[name]
            param.grad = None
            put_storage(param, part)
            param.grad = small[name]
        for name, part in buffers.items():
            put_storage(live.held.buffer(name), part)
        self._states.shrink()
        for one, _ in self._sizes:
            setattr(one.module, one.attribute, one.value)
        self._held = live.held.exchange(dict(_small_held(live.held.kept(), plan)))
        self._inactive = live.state.turn_to(_inactive(masks))
        watched = WatchList(masks, live.state.roster, self._enforcer.lean)
        for name in masks.entries():
            watched.sync(name)
        self._watched = self._enforcer.turn_to(watched)
        self._settle()
        self._tell_of(grads)

    @torch.no_grad()
    def expand(self) -> None:
        """Put everything back, bit for bit; awake entries as they were trained meanwhile."""
        live, plan = self._live, self.plan
        self._enforcer.settle()
        for one, value in self._sizes:
            setattr(one.module, one.attribute, value)
        grads = {name: live.params[name].grad for name in plan.params}
        for name, cut in plan.params.items():
            param, full, grad = live.params[name], self._full[name], grads[name]
            param.grad = None
            cut.put(param.data, full)
            put_storage(param, full)
            param.grad = None if grad is None else _widened(grad, cut, full)
        for name, cut in plan.buffers.items():
            buffer, full = live.held.buffer(name), self._full_buffers[name]
            cut.put(buffer.data, full)
            put_storage(buffer, full)
        self._states.expand()
        live.held.exchange(self._held)
        live.state.turn_to(self._inactive)
        if self._watched is not None:
            self._enforcer.turn_to(self._watched)
        self._settle()
        self._tell_of(grads)

    def full_value(self, tensor: Tensor) -> Tensor | None:
        """A copy of a cut parameter or buffer at full size, as it is now; None for any other."""
        found = self._of.get(id(tensor))
        if found is None:
            return None
        full, cut = found
        result = full.detach().clone()
        cut.put(tensor.detach(), result)
        return result

    def _tell_of(self, before: Mapping[str, Tensor | None]) -> None:
        """Undo follows pending gradients through the change of size."""
        for name, old in before.items():
            new = self._live.params[name].grad
            if old is not None and new is not None:
                self._live.gradient_moved(old, new)

    def _settle(self) -> None:
        for module in self.plan.modules:
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # one block of memory again, which CUDA wants
        torch.clear_autocast_cache()


def _widened(grad: Tensor, cut: Cut, full: Tensor) -> Tensor:
    """The gradient of the full tensor: sleepers have none."""
    if grad.is_sparse and isinstance(cut, Lines):
        return cut.widen_sparse(grad)
    wide = torch.zeros_like(full, dtype=grad.dtype)
    cut.put(grad, wide)
    return wide


def _check_gradient(live: Live, name: str, cut: Cut) -> None:
    grad = live.params[name].grad
    if grad is None or grad.layout is torch.strided:
        return
    sparse = grad.sparse_dim() if grad.layout is torch.sparse_coo else grad.dim()
    if not isinstance(cut, Lines) or any(dim < sparse for dim in cut.kept):
        raise SetupError(f"compact(): the {grad.layout} gradient of {name!r} cannot be cut")


def _small_held(
    kept: Mapping[str, tuple[Tensor, Tensor]], plan: Plan
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """What is held of statistics that remain: those of frozen nodes, and of buffers not cut."""
    for name, (mask, values) in kept.items():
        cut = plan.buffers.get(name)
        if cut is None:
            yield name, (mask, values)
        elif bool((part := cut.take(mask)).any()):
            yield name, (part, cut.take(values))


def _inactive(masks: MaskStore) -> dict[str, Any]:
    trainable = {name: masks.trainable_bits(name) for name in masks.entries()}
    return {n: packed.bit_not(t, masks.numel(n)) for n, t in trainable.items() if t is not None}
