"""The masks of what remains: weights asleep by themselves, and frozen entries."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.compaction.plan import Plan
from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore


def small_masks(live: Live, plan: Plan) -> MaskStore:
    """A store of the small shapes, with the effective bits of the entries that remain."""
    store = live.store
    shapes = {
        name: plan.params[name].small if name in plan.params else store.shape(name)
        for name in store.names()
    }
    small = MaskStore(shapes, {name: store.device(name) for name in store.names()})
    asleep: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    others = _still_asleep(live, plan)
    for name in store.entries():
        alone = store.layer_bits(name, Layer.WEIGHTS, Kind.ASLEEP) is not None or name in others
        if name not in plan.params or alone:
            _add(asleep, store.asleep_bits(name), name, live, plan)
        _add(frozen, store.frozen_bits(name), name, live, plan)
    small.sleep(Choice.from_bits(asleep, shapes))
    small.freeze(Choice.from_bits(frozen, shapes))
    return small


def _still_asleep(live: Live, plan: Plan) -> set[str]:
    """Parameters with entries of sleeping nodes that are not cut."""
    rest = (n for n in live.nodes.nodes(Kind.ASLEEP) if n not in plan.awake)
    return {name for group in rest for name in live.nodes.groups[group].params}


def _add(found: dict[str, Tensor], bits: Tensor | None, name: str, live: Live, plan: Plan) -> None:
    if bits is None:
        return
    if name in plan.params:
        mask = plan.params[name].take(packed.unpack(bits, live.store.shape(name)))
        bits = packed.pack(mask) if bool(torch.any(mask)) else None
    if bits is not None:
        found[name] = bits
