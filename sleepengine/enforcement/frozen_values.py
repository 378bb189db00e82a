"""Values of frozen entries in a saved run, checked against the masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sleepengine.enforcement.roster import Roster
from sleepengine.errors import StateError
from sleepengine.masks import bits as packed
from sleepengine.masks.parked import Parked
from sleepengine.masks.store import MaskStore


def frozen_awake(store: MaskStore, name: str) -> Tensor | None:
    """Packed bits of the frozen entries that are awake; None when there are none.

    A frozen entry that sleeps is zero, and its value is parked elsewhere.
    """
    frozen, asleep = store.frozen_bits(name), store.asleep_bits(name)
    if frozen is not None and asleep is not None:
        frozen = packed.bit_andnot(frozen, asleep)
    return frozen if frozen is not None and packed.any_set(frozen) else None


def read_frozen(state: Mapping[str, Any], store: MaskStore, roster: Roster) -> dict[str, Parked]:
    """Name -> values of its frozen entries, from `{"frozen_values": ...}`.

    Raises:
        StateError: they do not belong to the entries that the store says are frozen.
    """
    kept = state.get("frozen_values")
    if not isinstance(kept, Mapping):
        raise StateError(f"frozen_values must be a dict, got {type(kept).__name__}")
    wanted = {name: frozen_awake(store, name) for name in store.names()}
    frozen = {name: bits for name, bits in wanted.items() if bits is not None}
    if set(frozen) != set(kept):
        raise StateError(f"frozen_values are of {sorted(kept)}, the masks freeze {sorted(frozen)}")
    read: dict[str, Parked] = {}
    for name, bits in frozen.items():
        param = roster.param(name)
        read[name] = Parked(param.shape, param.dtype, device=param.device)
        read[name].load_state_dict(kept[name], f"frozen_values[{name!r}]")
        if not torch.equal(read[name].bits.to(bits.device), bits):
            raise StateError(f"frozen_values[{name!r}] are not of the entries that are frozen")
    return read
