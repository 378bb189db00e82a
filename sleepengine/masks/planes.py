"""Packed bits of one store: asleep and frozen, each on the layer of weights and of nodes.

Packed tensors are never written, only replaced, so a copy shares them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from sleepengine.errors import StateError, did_you_mean
from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer

PLANES: tuple[tuple[Kind, Layer], ...] = tuple((kind, layer) for kind in Kind for layer in Layer)


@final
class Changes(NamedTuple):
    """Entries that changed effectively, over both layers together."""

    slept: Choice
    woke: Choice
    frozen: Choice
    thawed: Choice


@final
class Planes:
    """(kind, layer, name) -> packed bits; a name without a set bit has no entry."""

    def __init__(self) -> None:
        self._bits: dict[tuple[Kind, Layer], dict[str, Tensor]] = {plane: {} for plane in PLANES}
        self._counts: dict[tuple[Kind, str], int] = {}

    def copy(self) -> Planes:
        """The same planes, to be changed apart; the packed tensors are shared."""
        other = Planes()
        other._bits = {plane: dict(entries) for plane, entries in self._bits.items()}
        other._counts = dict(self._counts)
        return other

    def get(self, kind: Kind, layer: Layer, name: str) -> Tensor | None:
        """Bits of one plane; None when none is set."""
        return self._bits[kind, layer].get(name)

    def put(self, kind: Kind, layer: Layer, name: str, bits: Tensor) -> None:
        """Replace the bits of one plane."""
        self._counts.pop((kind, name), None)
        if packed.any_set(bits):
            self._bits[kind, layer][name] = bits
        else:
            self._bits[kind, layer].pop(name, None)

    def effective(self, kind: Kind, name: str) -> Tensor | None:
        """Bits set on either layer; None when none is."""
        weights = self._bits[kind, Layer.WEIGHTS].get(name)
        nodes = self._bits[kind, Layer.NODES].get(name)
        if weights is None or nodes is None:
            return nodes if weights is None else weights
        return packed.bit_or(weights, nodes)

    def count(self, kind: Kind, name: str) -> int:
        """Entries set on either layer."""
        known = self._counts.get((kind, name))
        if known is None:
            bits = self.effective(kind, name)
            known = self._counts[kind, name] = 0 if bits is None else packed.count(bits)
        return known

    def names(self, kind: Kind | None = None) -> set[str]:
        """Names with a bit set, of one kind or of any."""
        return {
            name
            for (one, _), entries in self._bits.items()
            if kind is None or one is kind
            for name in entries
        }

    def items(self) -> Iterator[tuple[Kind, Layer, str, Tensor]]:
        """Every entry: kind, layer, name, bits."""
        for (kind, layer), entries in self._bits.items():
            for name, bits in entries.items():
                yield kind, layer, name, bits

    def move(self, name: str, device: torch.device) -> None:
        """Bring the bits of one name to a device."""
        for entries in self._bits.values():
            if name in entries:
                entries[name] = entries[name].to(device)

    def nbytes(self) -> int:
        """Bytes of all packed masks."""
        return sum(bits.numel() for _, _, _, bits in self.items())

    def state_dict(self) -> dict[str, Any]:
        """{kind: {layer: {name: {"bits": uint8 tensor, "count": int}}}}, copied to the CPU."""
        state: dict[str, Any] = {k.value: {layer.value: {} for layer in Layer} for k in Kind}
        for kind, layer, name, bits in self.items():
            kept = bits.detach().to("cpu", copy=True)
            state[kind.value][layer.value][name] = {"bits": kept, "count": packed.count(kept)}
        return state


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
        mine, theirs = a._bits[kind, layer], b._bits[kind, layer]
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


def read_planes(state: object, shapes: Mapping[str, torch.Size], where: str) -> Planes:
    """Planes of a saved state, checked in every point; the state itself is only read.

    Raises:
        StateError: a key, name, dtype, length, padding bit or count does not fit.
    """
    planes = Planes()
    kinds = section(state, [kind.value for kind in Kind], where)
    for kind in Kind:
        at = f"{where}[{kind.value!r}]"
        layers = section(kinds[kind.value], [layer.value for layer in Layer], at)
        for layer in Layer:
            here = f"{at}[{layer.value!r}]"
            entries = layers[layer.value]
            if not isinstance(entries, Mapping):
                raise StateError(f"{here} must be a dict, got {type(entries).__name__}")
            for name, entry in entries.items():
                if name not in shapes:
                    raise StateError(f"{here} has unknown {name!r}. {did_you_mean(name, shapes)}")
                bits = read_bits(entry, shapes[name].numel(), f"{here}[{name!r}]")
                planes.put(kind, layer, name, bits)
    return planes


def section(state: object, keys: list[str], where: str) -> Mapping[str, Any]:
    """The state itself, once it is a dict of exactly these keys.

    Raises:
        StateError: it is no dict, or keys are missing or unknown.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"{where} must be a dict, got {type(state).__name__}")
    missing = [key for key in keys if key not in state]
    extra = [key for key in state if key not in keys]
    if missing or extra:
        raise StateError(f"{where} must have keys {keys}: missing {missing}, unknown {extra}")
    return state


def read_bits(entry: object, numel: int, where: str) -> Tensor:
    """Packed bits from `{"bits": ..., "count": ...}`, checked and copied.

    Raises:
        StateError: dtype, length, padding bits or the count do not fit.
    """
    fields = section(entry, ["bits", "count"], where)
    bits, said = fields["bits"], fields["count"]
    if not isinstance(bits, Tensor) or bits.dtype != torch.uint8:
        raise StateError(f"{where}: bits must be a uint8 tensor, got {_kind_of(bits)}")
    if tuple(bits.shape) != (packed.byte_length(numel),):
        raise StateError(
            f"{where}: {numel} entries need {packed.byte_length(numel)} bytes in one dimension, "
            f"got shape {tuple(bits.shape)}"
        )
    if not packed.padding_is_zero(bits, numel):
        raise StateError(f"{where}: bits beyond entry {numel - 1} are set")
    if type(said) is not int or said != packed.count(bits):
        raise StateError(f"{where}: count says {said!r}, the bits say {packed.count(bits)}")
    return bits.detach().clone()


def _kind_of(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


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
