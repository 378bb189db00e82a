"""The mask store: which weights are awake and which may train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.masks import bits as packed
from sleepengine.masks.bit_values import check_bits
from sleepengine.masks.changes import MaskDelta, changes_between, diff_planes
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.kept_masks import KeptMasks, awake_set, read_kept
from sleepengine.masks.known import Known
from sleepengine.masks.planes import Changes, Planes, read_planes
from sleepengine.masks.saved import check_format, check_shapes, section
from sleepengine.masks.snapshots import MaskSnapshot

_FORMAT = 1


@final
class MaskStore:
    """Which weights are awake and which may train: one bit each, where any does not.

    An entry is awake when it is awake on every layer (weights, nodes), and trainable when it is
    awake and frozen on no layer. Each call touches the layer of its choice alone and returns what
    changed effectively: sleeping what already sleeps on another layer changes nothing that can be
    seen, and waking one of two layers wakes nothing yet. Freezing does not depend on sleep. The
    caller leaves an entry out of the nodes to wake while another node that owns it sleeps.

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
        self, shapes: Mapping[str, torch.Size], devices: Mapping[str, torch.device] | None = None
    ) -> None:
        self._known = Known(shapes, devices)
        self._planes = Planes()
        self._kept = KeptMasks()
        self.version = 0  # another number whenever the masks may have changed

    def sleep(self, choice: Choice) -> Choice:
        """Put the chosen entries to sleep on the choice's layer; returns those that were awake."""
        return self._change(Kind.ASLEEP, choice, packed.bit_or)

    def wake(self, choice: Choice) -> Choice:
        """Wake the chosen entries on the choice's layer; returns those now awake on every layer."""
        return self._change(Kind.ASLEEP, choice, packed.bit_andnot)

    def freeze(self, choice: Choice) -> Choice:
        """Freeze the chosen entries on the choice's layer; returns those that were not frozen."""
        return self._change(Kind.FROZEN, choice, packed.bit_or)

    def thaw(self, choice: Choice) -> Choice:
        """Thaw the chosen entries on the choice's layer; returns those now frozen on no layer."""
        return self._change(Kind.FROZEN, choice, packed.bit_andnot)

    def adopt(self, other: MaskStore) -> Changes:
        """Take all masks of another store of the same shapes (its snapshots are left out)."""
        self._known.check_same(other._known)
        return self._become(other._planes)

    def diff(self, other: MaskStore) -> MaskDelta:
        """The delta that turns this store's masks into the other's, and back."""
        self._known.check_same(other._known)
        return diff_planes(self._planes, other._planes)

    def apply_diff(self, delta: MaskDelta) -> Changes:
        """XOR a delta into the masks; doing it twice gives back the start."""
        for entries in delta.bits.values():
            for name, bits in entries.items():
                check_bits(bits, self.numel(name))
        planes = self._planes.copy()
        for (kind, layer), entries in delta.bits.items():
            for name, bits in entries.items():
                mine = bits.to(self._known.devices[name])
                planes.change(kind, layer, name, mine, packed.bit_xor)
        return self._become(planes)

    def awake(self, name: str) -> Tensor | None:
        """Bool tensor, True = awake on every layer; None = wholly awake."""
        bits = self.asleep_bits(name)
        return None if bits is None else packed.unpack(bits, self.shape(name)).logical_not_()

    def trainable(self, name: str) -> Tensor | None:
        """Bool tensor, True = awake and not frozen; None = wholly trainable."""
        bits = self.trainable_bits(name)
        return None if bits is None else packed.unpack(bits, self.shape(name))

    def frozen(self, name: str) -> Tensor | None:
        """Bool tensor, True = frozen on any layer; None = nothing is."""
        bits = self.frozen_bits(name)
        return None if bits is None else packed.unpack(bits, self.shape(name))

    def asleep_bits(self, name: str) -> Tensor | None:
        """Packed bits asleep on any layer, never to be written into; None = nothing is."""
        self._known.check(name)
        return self._planes.effective(Kind.ASLEEP, name)

    def frozen_bits(self, name: str) -> Tensor | None:
        """Packed bits frozen on any layer, never to be written into; None = nothing is."""
        self._known.check(name)
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
        self._known.check(name)
        return self._planes.get(kind, layer, name)

    def names(self) -> tuple[str, ...]:
        """All names known, in the order given."""
        return tuple(self._known.shapes)

    def shape(self, name: str) -> torch.Size:
        """Shape of one parameter."""
        self._known.check(name)
        return self._known.shapes[name]

    def numel(self, name: str) -> int:
        """Number of entries of one parameter."""
        return self.shape(name).numel()

    def device(self, name: str) -> torch.device:
        """Device of the bits of one parameter."""
        self._known.check(name)
        return self._known.devices[name]

    def entries(self) -> tuple[str, ...]:
        """Names with anything asleep or frozen, in the order of `names()`."""
        found = self._planes.names()
        return tuple(name for name in self._known.shapes if name in found)

    def asleep_count(self, name: str | None = None) -> int:
        """Entries asleep on any layer, of one name or of all."""
        return self._count(Kind.ASLEEP, name)

    def frozen_count(self, name: str | None = None) -> int:
        """Entries frozen on any layer, of one name or of all."""
        return self._count(Kind.FROZEN, name)

    def fraction(self, name: str | None = None) -> float:
        """Asleep / all entries, of one name or of every name known; 0.0 of nothing."""
        total = self._known.total() if name is None else self.numel(name)
        return self.asleep_count(name) / total if total else 0.0

    def nbytes(self) -> int:
        """Bytes that the packed masks take (snapshots share what did not change since)."""
        return self._planes.nbytes()

    def fork(self) -> MaskStore:
        """A store with the same masks that can change apart; the packed bits are shared."""
        other = MaskStore(self._known.shapes, self._known.devices)
        other._planes, other._kept = self._planes.copy(), self._kept.copy()
        return other

    def move(self, name: str, device: torch.device | str) -> None:
        """Bring the bits of one parameter to a device."""
        self._known.check(name)
        self._known.devices[name] = torch.device(device)
        self._planes.move(name, self._known.devices[name])

    def snapshot(self, tag: str) -> MaskSnapshot:
        """Keep all bits under a tag (an old one is replaced) and return the awake set."""
        self._kept.keep(tag, self._planes)
        return awake_set(self._planes, self._known.shapes)

    def snapshots(self) -> dict[str, MaskSnapshot]:
        """Tag -> awake set, oldest tag first."""
        return {tag: awake_set(self._kept[tag], self._known.shapes) for tag in self._kept}

    def restore(self, tag: str) -> Changes:
        """Take back all bits kept under a tag; returns (slept, woke, frozen, thawed)."""
        return self._become(self._kept[tag])

    def drop(self, tag: str) -> None:
        """Forget a snapshot."""
        self._kept.drop(tag)

    def state_dict(self) -> dict[str, Any]:
        """Shapes, packed bits with their counts, and snapshots: tensors and plain values only."""
        return {
            "format": _FORMAT,
            "shapes": {name: list(shape) for name, shape in self._known.shapes.items()},
            "masks": self._planes.state_dict(),
            "snapshots": self._kept.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace masks and snapshots by a saved state, after all of it was checked.

        Raises:
            StateError: names, shapes, dtypes, lengths, padding or counts do not fit.
        """
        parts = section(state, ["format", "shapes", "masks", "snapshots"], "mask state")
        check_format(parts["format"], _FORMAT, "mask state has")
        check_shapes(parts["shapes"], self._known.shapes)
        planes = read_planes(parts["masks"], self._known.shapes, "masks")
        kept = read_kept(parts["snapshots"], self._known.shapes)
        for name, device in self._known.devices.items():
            planes.move(name, device)
        self._planes, self._kept = planes, kept
        self.version += 1

    def digest(self) -> str:
        """Sha256 over names, shapes and bits of every layer, whatever their order and device."""
        return self._planes.digest(self._known.shapes)

    def _change(
        self, kind: Kind, choice: Choice, operation: Callable[[Tensor, Tensor], Tensor]
    ) -> Choice:
        """Change the choice's layer; the entries that differ effectively."""
        self._known.check_choice(choice)
        self.version += 1
        changed: dict[str, Tensor] = {}
        for name in choice:
            bits = choice.bits(name).to(self._known.devices[name])
            differs = self._planes.change(kind, choice.layer, name, bits, operation)
            if packed.any_set(differs):
                changed[name] = differs
        return Choice.from_bits(changed, self._known.shapes, choice.layer)

    def _become(self, planes: Planes) -> Changes:
        old, self._planes = self._planes, planes.copy()
        self.version += 1
        for name in self._planes.names():
            self._planes.move(name, self._known.devices[name])
        return changes_between(old, self._planes, self._known.shapes)

    def _count(self, kind: Kind, name: str | None) -> int:
        if name is not None:
            self._known.check(name)
            return self._planes.count(kind, name)
        return sum(self._planes.count(kind, one) for one in self._planes.names(kind))
