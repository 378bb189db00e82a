"""The mask store: which weights are awake and which may train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.errors import SetupError, StateError, UnknownNameError, did_you_mean
from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.planes import (
    Changes,
    MaskDelta,
    Planes,
    changes_between,
    diff_planes,
    read_planes,
    section,
)
from sleepengine.masks.snapshots import MaskSnapshot

_FORMAT = 1


@final
class MaskStore:
    """Which weights are awake and which may train: one bit each, only where any sleeps or is frozen.

    An entry is awake when it is awake on every layer (weights, nodes), and trainable when it is
    awake and frozen on no layer. Each call touches the layer of its choice alone and returns what
    changed effectively: sleeping what already sleeps on another layer changes nothing that can be
    seen, and waking one of two layers wakes nothing yet. Freezing does not depend on sleep. An
    entry that belongs to several nodes must stay in the choice's complement until the last wakes.

    Args:
        shapes: parameter name -> shape.
        devices: parameter name -> device of its bits; a name that is missing is on the CPU.

    Raises (every call, before anything changes):
        UnknownNameError: a name is not in the store.
        SetupError: a shape differs.

    >>> store = MaskStore({"w": torch.Size([4])})
    >>> store.sleep(Choice({"w": torch.tensor([True, True, False, False])}))
    Choice(weights: w 2/4)
    >>> nodes = Choice({"w": torch.tensor([False, True, True, False])}, Layer.NODES)
    >>> store.sleep(nodes)["w"].tolist()
    [False, False, True, False]
    >>> store.wake(nodes)["w"].tolist(), store.awake("w").tolist(), store.fraction()
    ([False, False, True, False], [False, False, True, True], 0.5)
    """

    def __init__(
        self,
        shapes: Mapping[str, torch.Size],
        devices: Mapping[str, torch.device] | None = None,
    ) -> None:
        self._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        given = {} if devices is None else devices
        for name in given:
            self._check_name(name)
        self._devices = {n: torch.device(given.get(n, "cpu")) for n in self._shapes}
        self._planes = Planes()
        self._snapshots: dict[str, Planes] = {}

    # --- changes -------------------------------------------------------------------------------

    def sleep(self, choice: Choice) -> Choice:
        """Put the chosen entries to sleep on the choice's layer; returns those that were awake."""
        return self._set(Kind.ASLEEP, choice)

    def wake(self, choice: Choice) -> Choice:
        """Wake the chosen entries on the choice's layer; returns those now awake on every layer."""
        return self._clear(Kind.ASLEEP, choice)

    def freeze(self, choice: Choice) -> Choice:
        """Freeze the chosen entries on the choice's layer; returns those that were not frozen."""
        return self._set(Kind.FROZEN, choice)

    def thaw(self, choice: Choice) -> Choice:
        """Thaw the chosen entries on the choice's layer; returns those now frozen on no layer."""
        return self._clear(Kind.FROZEN, choice)

    def adopt(self, other: MaskStore) -> Changes:
        """Take all masks of another store of the same shapes (its snapshots are left out)."""
        self._check_same(other)
        return self._become(other._planes)

    def diff(self, other: MaskStore) -> MaskDelta:
        """The delta that turns this store's masks into the other's, and back."""
        self._check_same(other)
        return diff_planes(self._planes, other._planes)

    def apply_diff(self, delta: MaskDelta) -> Changes:
        """XOR a delta into the masks; doing it twice gives back the start."""
        for name in delta.names():
            self._check_name(name)
        for entries in delta.bits.values():
            for name, bits in entries.items():
                if bits.numel() != packed.byte_length(self.numel(name)):
                    raise SetupError(f"the delta of {name!r} has {bits.numel()} bytes of bits")
        planes = self._planes.copy()
        for (kind, layer), entries in delta.bits.items():
            for name, bits in entries.items():
                mine = bits.to(self._devices[name])
                old = planes.get(kind, layer, name)
                planes.put(kind, layer, name, mine if old is None else packed.bit_xor(old, mine))
        return self._become(planes)

    # --- questions -----------------------------------------------------------------------------

    def awake(self, name: str) -> Tensor | None:
        """Bool tensor, True = awake on every layer; None = wholly awake."""
        bits = self.asleep_bits(name)
        return None if bits is None else packed.unpack(bits, self._shapes[name]).logical_not_()

    def trainable(self, name: str) -> Tensor | None:
        """Bool tensor, True = awake and not frozen; None = wholly trainable."""
        bits = self.trainable_bits(name)
        return None if bits is None else packed.unpack(bits, self._shapes[name])

    def frozen(self, name: str) -> Tensor | None:
        """Bool tensor, True = frozen on any layer; None = nothing is."""
        bits = self.frozen_bits(name)
        return None if bits is None else packed.unpack(bits, self._shapes[name])

    def asleep_bits(self, name: str) -> Tensor | None:
        """Packed bits asleep on any layer, never to be written into; None = nothing is."""
        self._check_name(name)
        return self._planes.effective(Kind.ASLEEP, name)

    def frozen_bits(self, name: str) -> Tensor | None:
        """Packed bits frozen on any layer, never to be written into; None = nothing is."""
        self._check_name(name)
        return self._planes.effective(Kind.FROZEN, name)

    def trainable_bits(self, name: str) -> Tensor | None:
        """Packed bits awake and not frozen; None = wholly trainable."""
        asleep, frozen = self.asleep_bits(name), self.frozen_bits(name)
        if asleep is None or frozen is None:
            still = frozen if asleep is None else asleep
        else:
            still = packed.bit_or(asleep, frozen)
        return None if still is None else packed.bit_not(still, self.numel(name))

    def layer_bits(self, name: str, layer: Layer, kind: Kind) -> Tensor | None:
        """Packed bits of one layer alone; None = none is set."""
        self._check_name(name)
        return self._planes.get(kind, layer, name)

    def names(self) -> tuple[str, ...]:
        """All names known, in the order given."""
        return tuple(self._shapes)

    def shape(self, name: str) -> torch.Size:
        """Shape of one parameter."""
        self._check_name(name)
        return self._shapes[name]

    def numel(self, name: str) -> int:
        """Number of entries of one parameter."""
        return self.shape(name).numel()

    def device(self, name: str) -> torch.device:
        """Device of the bits of one parameter."""
        self._check_name(name)
        return self._devices[name]

    def entries(self) -> tuple[str, ...]:
        """Names with anything asleep or frozen, in the order of `names()`."""
        found = self._planes.names()
        return tuple(name for name in self._shapes if name in found)

    def asleep_count(self, name: str | None = None) -> int:
        """Entries asleep on any layer, of one name or of all."""
        return self._count(Kind.ASLEEP, name)

    def frozen_count(self, name: str | None = None) -> int:
        """Entries frozen on any layer, of one name or of all."""
        return self._count(Kind.FROZEN, name)

    def fraction(self, name: str | None = None) -> float:
        """asleep / all entries, of one name or of every name known; 0.0 of nothing."""
        total = sum(s.numel() for s in self._shapes.values()) if name is None else self.numel(name)
        return self.asleep_count(name) / total if total else 0.0

    def nbytes(self) -> int:
        """Bytes that the packed masks take (snapshots share what did not change since)."""
        return self._planes.nbytes()

    # --- copies and snapshots ------------------------------------------------------------------

    def fork(self) -> MaskStore:
        """A store with the same masks that can change apart; the packed bits are shared."""
        other = MaskStore(self._shapes, self._devices)
        other._planes = self._planes.copy()
        other._snapshots = dict(self._snapshots)
        return other

    def move(self, name: str, device: torch.device | str) -> None:
        """Bring the bits of one parameter to a device."""
        self._check_name(name)
        self._devices[name] = torch.device(device)
        self._planes.move(name, self._devices[name])

    def snapshot(self, tag: str) -> MaskSnapshot:
        """Keep all bits under a tag (an old one is replaced) and return the awake set."""
        self._snapshots[tag] = self._planes.copy()
        return self._as_snapshot(self._planes)

    def snapshots(self) -> dict[str, MaskSnapshot]:
        """Tag -> awake set, oldest tag first."""
        return {tag: self._as_snapshot(planes) for tag, planes in self._snapshots.items()}

    def restore(self, tag: str) -> Changes:
        """Take back all bits kept under a tag; returns (slept, woke, frozen, thawed)."""
        self._check_tag(tag)
        return self._become(self._snapshots[tag])

    def drop(self, tag: str) -> None:
        """Forget a snapshot."""
        self._check_tag(tag)
        del self._snapshots[tag]

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Shapes, packed bits with their counts, and snapshots: tensors and plain values only."""
        return {
            "format": _FORMAT,
            "shapes": {name: list(shape) for name, shape in self._shapes.items()},
            "masks": self._planes.state_dict(),
            "snapshots": {tag: planes.state_dict() for tag, planes in self._snapshots.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace masks and snapshots by a saved state, after all of it was checked.

        Raises:
            StateError: names, shapes, dtypes, lengths, padding or counts do not fit; nothing
                was changed.
        """
        parts = section(state, ["format", "shapes", "masks", "snapshots"], "mask state")
        if parts["format"] != _FORMAT:
            raise StateError(f"mask state has format {parts['format']!r}, this reads {_FORMAT}")
        self._check_shapes(parts["shapes"])
        planes = read_planes(parts["masks"], self._shapes, "masks")
        kept = parts["snapshots"]
        if not isinstance(kept, Mapping) or not all(isinstance(tag, str) for tag in kept):
            raise StateError("the snapshots of a mask state must be a dict keyed by tags")
        snapshots = {
            tag: read_planes(one, self._shapes, f"snapshots[{tag!r}]") for tag, one in kept.items()
        }
        for name, device in self._devices.items():
            planes.move(name, device)
        self._planes, self._snapshots = planes, snapshots

    def digest(self) -> str:
        """Sha256 over names, shapes and bits of every layer, whatever their order and device.

        >>> a, b = MaskStore({"w": torch.Size([4])}), MaskStore({"w": torch.Size([4])})
        >>> _ = a.sleep(Choice({"w": torch.tensor([True, False, False, False])}))
        >>> a.digest() == b.digest(), a.fork().digest() == a.digest(), len(a.digest())
        (False, True, 64)
        """
        shapes = sorted((name, list(shape)) for name, shape in self._shapes.items())
        sha = hashlib.sha256(json.dumps(shapes).encode())
        planes = sorted((k.value, la.value, n, bits) for k, la, n, bits in self._planes.items())
        for kind, layer, name, bits in planes:
            sha.update(json.dumps([kind, layer, name]).encode())
            sha.update(bits.cpu().numpy().tobytes())
        return sha.hexdigest()

    # --- inside --------------------------------------------------------------------------------

    def _set(self, kind: Kind, choice: Choice) -> Choice:
        return self._change(kind, choice, packed.bit_or)

    def _clear(self, kind: Kind, choice: Choice) -> Choice:
        return self._change(kind, choice, packed.bit_andnot)

    def _change(
        self, kind: Kind, choice: Choice, operation: Callable[[Tensor, Tensor], Tensor]
    ) -> Choice:
        """The bits that differ effectively after `operation` on the choice's layer."""
        self._check_choice(choice)
        changed: dict[str, Tensor] = {}
        for name in choice:
            device = self._devices[name]
            bits = choice.bits(name).to(device)
            none = packed.empty(self.numel(name), device)
            old = self._planes.get(kind, choice.layer, name)
            before = self._planes.effective(kind, name)
            self._planes.put(
                kind, choice.layer, name, operation(none if old is None else old, bits)
            )
            after = self._planes.effective(kind, name)
            differs = packed.bit_xor(
                none if before is None else before, none if after is None else after
            )
            if packed.any_set(differs):
                changed[name] = differs
        return Choice.from_bits(changed, self._shapes, choice.layer)

    def _become(self, planes: Planes) -> Changes:
        planes = planes.copy()
        for name in planes.names():
            planes.move(name, self._devices[name])
        changes = changes_between(self._planes, planes, self._shapes)
        self._planes = planes
        return changes

    def _as_snapshot(self, planes: Planes) -> MaskSnapshot:
        asleep = {n: planes.effective(Kind.ASLEEP, n) for n in self._shapes}
        bits = {n: b for n, b in asleep.items() if b is not None}
        return MaskSnapshot.from_bits(bits, self._shapes)

    def _count(self, kind: Kind, name: str | None) -> int:
        if name is not None:
            self._check_name(name)
            return self._planes.count(kind, name)
        return sum(self._planes.count(kind, one) for one in self._planes.names(kind))

    def _check_name(self, name: str) -> None:
        if name not in self._shapes:
            raise UnknownNameError(
                f"the mask store knows no {name!r}. {did_you_mean(name, self._shapes)}"
            )

    def _check_tag(self, tag: str) -> None:
        if tag not in self._snapshots:
            raise UnknownNameError(
                f"there is no snapshot {tag!r}. {did_you_mean(tag, self._snapshots)}"
            )

    def _check_choice(self, choice: Choice) -> None:
        for name in choice:
            self._check_name(name)
            if choice.shape(name) != self._shapes[name]:
                raise SetupError(
                    f"the choice for {name!r} has shape {tuple(choice.shape(name))}, "
                    f"the parameter has {tuple(self._shapes[name])}"
                )

    def _check_same(self, other: MaskStore) -> None:
        try:
            self._check_shapes({name: list(shape) for name, shape in other._shapes.items()})
        except StateError as error:
            raise SetupError(f"the stores differ: {error}") from None

    def _check_shapes(self, saved: object) -> None:
        shapes = section(saved, list(self._shapes), "shapes of a mask state")
        for name, shape in self._shapes.items():
            if list(shape) != list(shapes[name]):
                raise StateError(
                    f"{name!r} has shape {tuple(shape)} here and {shapes[name]} in the state"
                )
