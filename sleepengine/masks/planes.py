"""Packed bits of one store: asleep and frozen, each on the layer of weights and of nodes.

Packed tensors are never written, only replaced, so a copy shares them all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from sleepengine.errors import StateError, did_you_mean
from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.saved import read_bits, section

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

    def plane(self, kind: Kind, layer: Layer) -> Mapping[str, Tensor]:
        """Name -> bits of one plane, only to be read."""
        return self._bits[kind, layer]

    def put(self, kind: Kind, layer: Layer, name: str, bits: Tensor) -> None:
        """Replace the bits of one plane."""
        self._counts.pop((kind, name), None)
        if packed.any_set(bits):
            self._bits[kind, layer][name] = bits
        else:
            self._bits[kind, layer].pop(name, None)

    def change(
        self,
        kind: Kind,
        layer: Layer,
        name: str,
        bits: Tensor,
        operation: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Apply `operation(old, bits)` on one layer; returns the bits that differ effectively."""
        nothing = torch.zeros_like(bits)
        old, before = self.get(kind, layer, name), self.effective(kind, name)
        self.put(kind, layer, name, operation(nothing if old is None else old, bits))
        after = self.effective(kind, name)
        return packed.bit_xor(
            nothing if before is None else before, nothing if after is None else after
        )

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

    def digest(self, shapes: Mapping[str, torch.Size]) -> str:
        """Sha256 over names, shapes and bits, whatever their order and device."""
        table = sorted((name, list(shape)) for name, shape in shapes.items())
        sha = hashlib.sha256(json.dumps(table).encode())
        entries = {(k.value, layer.value, name): b for k, layer, name, b in self.items()}
        for key in sorted(entries):
            sha.update(json.dumps(key).encode())
            sha.update(entries[key].cpu().numpy().tobytes())
        return sha.hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """{kind: {layer: {name: {"bits": uint8 tensor, "count": int}}}}, copied to the CPU."""
        state: dict[str, Any] = {k.value: {layer.value: {} for layer in Layer} for k in Kind}
        for kind, layer, name, bits in self.items():
            kept = bits.detach().to("cpu", copy=True)
            state[kind.value][layer.value][name] = {"bits": kept, "count": packed.count(kept)}
        return state


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
