"""What a saved engine must fulfil beyond its parts: masks, nodes and parked values fit together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sleepengine.errors import StateError
from sleepengine.masks import bits
from sleepengine.masks.choice import Kind, Layer
from sleepengine.masks.parking import Parking
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks

if TYPE_CHECKING:
    from sleepengine.engine.sleep_engine import SleepEngine


def order(engine: SleepEngine, masks: MaskStore) -> None:
    """Masks and rules of attach may have cleared what was loaded before it."""
    store = engine.live.store
    if not engine.attached:
        return
    masked: list[str] = []
    for name in store.entries():
        now, then = store.trainable_bits(name), masks.trainable_bits(name)
        full = bits.full(store.numel(name), store.device(name))
        if now is not None and bits.any_set(bits.bit_andnot(full if then is None else then, now)):
            masked.append(name)
    lost = engine.conductor.beginning.lost(masked)
    if lost:
        raise StateError(
            f"{', '.join(map(repr, lost[:5]))}: attach() has masked or changed what may have been "
            "loaded before it: call load_state_dict() before attach(), or after it first that of "
            "model and optimizer and then that of the engine"
        )


def nodes(masks: MaskStore, nodes: NodeMasks, statistics: Mapping[str, Any]) -> None:
    """Sleeping and frozen entries of nodes, and held statistics, are those of the nodes."""
    for kind in Kind:
        derived = nodes.covered(kind)
        for name in masks.names():
            said = masks.layer_bits(name, Layer.NODES, kind)
            right = derived.bits(name).to(masks.device(name)) if name in derived else None
            if right is not None and not bits.any_set(right):
                right = None
            if (said is None) != (right is None) or (
                said is not None and right is not None and not torch.equal(said, right)
            ):
                raise StateError(
                    f"{kind.value} entries of {name!r} are not those of the {kind.value} nodes"
                )
    held = nodes.held()
    for name in held.keys() | statistics.keys():
        if name not in held or name not in statistics:
            if name in held and not bool(held[name].any()):
                continue
            raise StateError(f"the statistics {name!r} are held for other nodes than the saved")
        if not torch.equal(held[name].cpu(), statistics[name][0].cpu()):
            raise StateError(f"the statistics {name!r} are held for other nodes than the saved")


def parked(masks: MaskStore, parked: Parking) -> None:
    """Every sleeper has a parked value, and nothing else has."""
    for name in parked.occupied():
        asleep = masks.asleep_bits(name)
        if asleep is None or bits.any_set(
            bits.bit_andnot(parked[name].bits.to(asleep.device), asleep)
        ):
            raise StateError(f"values of {name!r} are parked where nothing sleeps")
    for name in masks.entries():
        asleep, stored = masks.asleep_bits(name), parked[name].bits
        if asleep is not None and bits.any_set(bits.bit_andnot(asleep, stored.to(asleep.device))):
            raise StateError(f"sleepers of {name!r} have no parked value")
