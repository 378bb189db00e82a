"""A mask as a value: which entries were awake, with the algebra of sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Layer


@final
class MaskSnapshot(Mapping[str, Tensor]):
    """name -> bool tensor, True = awake; a set of awake entries that never changes.

    `a | b` is awake in either, `a & b` awake in both, `a - b` awake in `a` and not in `b`, `~a`
    awake where `a` sleeps. Both sides must speak of the same names and shapes. Reading
    a name gives a fresh bool tensor of the parameter's shape.

    Raises:
        SetupError: a mask is not a bool tensor, or two snapshots differ in names or shapes.

    >>> a = MaskSnapshot({"w": torch.tensor([True, True, False, False])})
    >>> b = MaskSnapshot({"w": torch.tensor([True, False, True, False])})
    >>> (a | b)["w"].tolist(), (a - b)["w"].tolist(), (~a)["w"].tolist()
    ([True, True, True, False], [False, True, False, False], [False, False, True, True])
    >>> (a & b).counts(), (a & b).fraction()
    ({'w': 1}, 0.75)
    """

    def __init__(self, awake: Mapping[str, Tensor]) -> None:
        for name, mask in awake.items():
            if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
                found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
                raise SetupError(f"the snapshot of {name!r} needs a bool tensor, got {found}")
        self._shapes = {name: mask.shape for name, mask in awake.items()}
        self._asleep: dict[str, Tensor] = {}
        for name, mask in awake.items():
            self._keep(name, packed.pack(~mask))

    @classmethod
    def from_bits(
        cls, asleep: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> MaskSnapshot:
        """The snapshot in which these packed bits sleep; a name without bits is wholly awake."""
        snapshot = cls({})
        snapshot._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        for name, bits in asleep.items():
            snapshot._keep(name, bits)
        return snapshot

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            raise UnknownNameError(f"no mask named {name!r}. {did_you_mean(name, self._shapes)}")
        shape = self._shapes[name]
        bits = self._asleep.get(name)
        if bits is None:
            return torch.ones(shape, dtype=torch.bool)
        return packed.unpack(bits, shape).logical_not_()

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __or__(self, other: MaskSnapshot) -> MaskSnapshot:
        """Awake in either: asleep in both."""
        return self._combine(other, packed.bit_and)

    def __and__(self, other: MaskSnapshot) -> MaskSnapshot:
        """Awake in both: asleep in either."""
        return self._combine(other, packed.bit_or)

    def __sub__(self, other: MaskSnapshot) -> MaskSnapshot:
        """Awake here and asleep there."""
        return self & ~other

    def __invert__(self) -> MaskSnapshot:
        """Awake where this one sleeps."""
        flipped = {n: packed.bit_not(self._bits(n), s.numel()) for n, s in self._shapes.items()}
        return MaskSnapshot.from_bits(flipped, self._shapes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskSnapshot):
            return NotImplemented
        return self._shapes == other._shapes and all(
            torch.equal(self._bits(name), other._bits(name).to(self._bits(name).device))
            for name in self._asleep.keys() | other._asleep.keys()
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        total = sum(shape.numel() for shape in self._shapes.values())
        return f"MaskSnapshot({sum(self.counts().values())} of {total} awake)"

    def shape(self, name: str) -> torch.Size:
        """Shape of one mask."""
        return self._shapes[name]

    def counts(self) -> dict[str, int]:
        """Awake entries, by name."""
        return {n: s.numel() - self._asleep_count(n) for n, s in self._shapes.items()}

    def fraction(self, name: str | None = None) -> float:
        """The sleeping share: asleep / all entries of one name or of all; 0.0 of nothing."""
        names = self._shapes if name is None else [name]
        total = sum(self._shapes[n].numel() for n in names)
        return sum(self._asleep_count(n) for n in names) / total if total else 0.0

    def asleep(self, layer: Layer = Layer.WEIGHTS) -> Choice:
        """The sleeping entries as a choice, to be handed to `MaskStore.sleep`."""
        return Choice.from_bits(self._asleep, self._shapes, layer)

    def _asleep_count(self, name: str) -> int:
        bits = self._asleep.get(name)
        return 0 if bits is None else packed.count(bits)

    def _keep(self, name: str, bits: Tensor) -> None:
        if packed.any_set(bits):
            self._asleep[name] = bits

    def _bits(self, name: str) -> Tensor:
        bits = self._asleep.get(name)
        return packed.empty(self._shapes[name].numel()) if bits is None else bits

    def _combine(
        self, other: MaskSnapshot, operation: Callable[[Tensor, Tensor], Tensor]
    ) -> MaskSnapshot:
        self._check_same(other)
        asleep: dict[str, Tensor] = {}
        for name in self._asleep.keys() | other._asleep.keys():
            mine, theirs = self._bits(name), other._bits(name)
            if mine.device != theirs.device:
                mine, theirs = mine.cpu(), theirs.cpu()
            asleep[name] = operation(mine, theirs)
        return MaskSnapshot.from_bits(asleep, self._shapes)

    def _check_same(self, other: MaskSnapshot) -> None:
        for name in [*self._shapes, *(n for n in other._shapes if n not in self._shapes)]:
            mine, theirs = self._shapes.get(name), other._shapes.get(name)
            if mine != theirs:
                raise SetupError(
                    f"snapshots differ at {name!r}: shape "
                    f"{'none' if mine is None else tuple(mine)} and "
                    f"{'none' if theirs is None else tuple(theirs)}"
                )


def iou(a: MaskSnapshot, b: MaskSnapshot) -> float:
    """|A and B| / |A or B| over the awake entries of all names; 1.0 when none is awake.

    >>> a = MaskSnapshot({"w": torch.tensor([True, True, False])})
    >>> iou(a, a), iou(a, ~a), iou(a, a | ~a) == 2 / 3
    (1.0, 0.0, True)
    """
    either = sum((a | b).counts().values())
    return sum((a & b).counts().values()) / either if either else 1.0
