"""What differs between two states of the masks: entries that changed, and deltas to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.planes import PLANES, Changes, Planes


@final
@dataclass(frozen=True, eq=False)
class MaskDelta:
    """What differs between two stores: per plane and name, the XOR of their packed bits.

    Applying a delta twice gives back the start.
    """

    bits: Mapping[tuple[Kind, Layer], Mapping[str, Tensor]]

    def is_empty(self) -> bool:
        """True when nothing differs."""
        return not any(self.bits.values())

    def names(self) -> set[str]:
        """Names that differ on any plane."""
        return {name for entries in self.bits.values() for name in entries}

    def nbytes(self) -> int:
        """Bytes of the packed bits kept."""
        return sum(b.numel() for entries in self.bits.values() for b in entries.values())


def diff_planes(a: Planes, b: Planes) -> MaskDelta:
    """The delta that turns `a` into `b` and `b` into `a`."""
    found: dict[tuple[Kind, Layer], dict[str, Tensor]] = {plane: {} for plane in PLANES}
    for (kind, layer), entries in found.items():
        mine, theirs = a.plane(kind, layer), b.plane(kind, layer)
        for name in [*mine, *(n for n in theirs if n not in mine)]:
            left, right = mine.get(name), theirs.get(name)
            if left is right:
                continue
            if left is None or right is None:
                only = right if left is None else left
                if only is not None:
                    entries[name] = only
                continue
            bits = packed.bit_xor(left, right.to(left.device))
            if packed.any_set(bits):
                entries[name] = bits
    return MaskDelta(found)


def changes_between(old: Planes, new: Planes, shapes: Mapping[str, torch.Size]) -> Changes:
    """What changed effectively from `old` to `new`, over both layers."""
    slept, woke = _gained_and_lost(old, new, Kind.ASLEEP)
    frozen, thawed = _gained_and_lost(old, new, Kind.FROZEN)
    return Changes(
        Choice.from_bits(slept, shapes),
        Choice.from_bits(woke, shapes),
        Choice.from_bits(frozen, shapes),
        Choice.from_bits(thawed, shapes),
    )


def _gained_and_lost(
    old: Planes, new: Planes, kind: Kind
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    gained: dict[str, Tensor] = {}
    lost: dict[str, Tensor] = {}
    for name in sorted(old.names(kind) | new.names(kind)):
        before, after = old.effective(kind, name), new.effective(kind, name)
        if after is not None:
            more = after if before is None else packed.bit_andnot(after, before.to(after.device))
            if packed.any_set(more):
                gained[name] = more
        if before is not None:
            less = before if after is None else packed.bit_andnot(before, after.to(before.device))
            if packed.any_set(less):
                lost[name] = less
    return gained, lost
