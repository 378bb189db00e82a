"""Which entries: a set of positions in named tensors, and the layer of sleep it is meant for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import final

import numpy as np
import torch
from torch import Tensor

from sleepengine.masks import bits as packed


@final
class Layer(Enum):
    """Who put an entry to sleep: the weights themselves, or the nodes that own them."""

    WEIGHTS = "weights"
    NODES = "nodes"


@final
class Kind(Enum):
    """What a bit says when it is set."""

    ASLEEP = "asleep"
    FROZEN = "frozen"


@final
class PackedMasks(Mapping[str, Tensor]):
    """name -> bool tensor, kept as packed bits and unpacked when read."""

    def __init__(self, bits: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
        self._bits = dict(bits)
        self._shapes = {name: torch.Size(shapes[name]) for name in bits}

    def __getitem__(self, name: str) -> Tensor:
        return packed.unpack(self._bits[name], self._shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def __len__(self) -> int:
        return len(self._bits)

    def bits(self, name: str) -> Tensor:
        """The packed bits of one name; not a copy, so never write into them."""
        return self._bits[name]

    def shape(self, name: str) -> torch.Size:
        """Shape of the mask of that name."""
        return self._shapes[name]


@final
@dataclass(frozen=True, eq=False, repr=False)
class Choice:
    """Which entries: name -> bool tensor (True = chosen).

    A name that is missing has nothing chosen. `layer` says whether the choice speaks of weights or
    of nodes. `a | b`, `a & b` and `a - b` are union, intersection and difference; two choices are
    equal when they choose the same entries of the same layer.

    Raises:
        TypeError: a mask is not a bool tensor, or a name is not a str.

    >>> a = Choice({"w": torch.tensor([True, True, False])})
    >>> b = Choice({"w": torch.tensor([False, True, True])})
    >>> (a & b)["w"].tolist(), (a | b).count(), (a - b).counts()
    ([False, True, False], 3, {'w': 1})
    >>> a
    Choice(weights: w 2/3)
    """

    masks: Mapping[str, Tensor] = field(default_factory=dict)
    layer: Layer = Layer.WEIGHTS

    def __post_init__(self) -> None:
        if not isinstance(self.layer, Layer):
            raise TypeError(f"layer must be Layer.WEIGHTS or Layer.NODES, got {self.layer!r}")
        if isinstance(self.masks, PackedMasks):
            return
        for name, mask in self.masks.items():
            if not isinstance(name, str):
                raise TypeError(f"a choice is keyed by parameter names, got {name!r}")
            if not isinstance(mask, Tensor):
                raise TypeError(f"the choice for {name!r} must be a bool tensor, got {type(mask)}")
            if mask.dtype != torch.bool:
                raise TypeError(
                    f"the choice for {name!r} must be a bool tensor (True = chosen), "
                    f"got dtype {mask.dtype}"
                )
        object.__setattr__(self, "masks", dict(self.masks))

    @classmethod
    def empty(cls, layer: Layer = Layer.WEIGHTS) -> Choice:
        """The choice of nothing."""
        return cls({}, layer)

    @classmethod
    def from_bits(
        cls,
        bits: Mapping[str, Tensor],
        shapes: Mapping[str, Sequence[int]],
        layer: Layer = Layer.WEIGHTS,
    ) -> Choice:
        """The choice kept as packed bits; a bool mask is made when one is read."""
        return cls(PackedMasks(bits, shapes), layer)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the choice, in order."""
        return tuple(self.masks)

    def __getitem__(self, name: str) -> Tensor:
        return self.masks[name]

    def __contains__(self, name: object) -> bool:
        return name in self.masks

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        """Number of names (use `count()` for the number of entries)."""
        return len(self.masks)

    def __bool__(self) -> bool:
        """True when at least one entry is chosen."""
        return not self.is_empty()

    def bits(self, name: str) -> Tensor:
        """Packed bits of one name; shared, so never write into them."""
        if isinstance(self.masks, PackedMasks):
            return self.masks.bits(name)
        return packed.pack(self.masks[name])

    def shape(self, name: str) -> torch.Size:
        """Shape of the mask of one name."""
        if isinstance(self.masks, PackedMasks):
            return self.masks.shape(name)
        return self.masks[name].shape

    def counts(self) -> dict[str, int]:
        """Entries chosen, by name."""
        return {name: self._count(name) for name in self.masks}

    def count(self) -> int:
        """Entries chosen in all."""
        return sum(self._count(name) for name in self.masks)

    def is_empty(self) -> bool:
        """True when no entry is chosen."""
        return not any(self._count(name) for name in self.masks)

    def on_layer(self, layer: Layer) -> Choice:
        """The same entries, spoken of another layer."""
        return Choice(self.masks, layer)

    def only(self, names: Sequence[str]) -> Choice:
        """The part of the choice that speaks of these names."""
        kept = [name for name in self.masks if name in set(names)]
        if isinstance(self.masks, PackedMasks):
            bits = {name: self.masks.bits(name) for name in kept}
            return Choice.from_bits(bits, {n: self.shape(n) for n in kept}, self.layer)
        return Choice({name: self.masks[name] for name in kept}, self.layer)

    def union(self, other: Choice) -> Choice:
        """Entries chosen by either."""
        return self._combine(other, packed.bit_or, keep_mine=True, keep_theirs=True)

    def intersection(self, other: Choice) -> Choice:
        """Entries chosen by both."""
        return self._combine(other, packed.bit_and, keep_mine=False, keep_theirs=False)

    def difference(self, other: Choice) -> Choice:
        """Entries chosen by this one and not by the other."""
        return self._combine(other, packed.bit_andnot, keep_mine=True, keep_theirs=False)

    __or__ = union
    __and__ = intersection
    __sub__ = difference

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        if self.layer is not other.layer:
            return False
        mine = {name: k for name, k in self.counts().items() if k}
        theirs = {name: k for name, k in other.counts().items() if k}
        return mine == theirs and all(
            self.shape(name) == other.shape(name)
            and torch.equal(self.bits(name), other.bits(name).to(self.bits(name).device))
            for name in mine
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        parts = [f"{n} {k}/{self.shape(n).numel()}" for n, k in self.counts().items()]
        return f"Choice({self.layer.value}: {', '.join(parts) or 'nothing'})"

    def _count(self, name: str) -> int:
        if isinstance(self.masks, PackedMasks):
            return packed.count(self.masks.bits(name))
        mask = self.masks[name]
        if mask.device.type == "cpu":
            return int(np.count_nonzero(mask.numpy()))
        return int(mask.count_nonzero())

    def _combine(
        self,
        other: Choice,
        operation: Callable[[Tensor, Tensor], Tensor],
        *,
        keep_mine: bool,
        keep_theirs: bool,
    ) -> Choice:
        if self.layer is not other.layer:
            raise ValueError(
                f"one choice speaks of {self.layer.value}, the other of {other.layer.value}; "
                "bring them to one layer with on_layer()"
            )
        bits: dict[str, Tensor] = {}
        shapes: dict[str, torch.Size] = {}
        for name in [*self.names, *(n for n in other.names if n not in self)]:
            if name in self and name in other:
                if self.shape(name) != other.shape(name):
                    raise ValueError(
                        f"{name!r} has shape {tuple(self.shape(name))} in one choice "
                        f"and {tuple(other.shape(name))} in the other"
                    )
                mine = self.bits(name)
                bits[name] = operation(mine, other.bits(name).to(mine.device))
                shapes[name] = self.shape(name)
            elif name in self and keep_mine:
                bits[name], shapes[name] = self.bits(name), self.shape(name)
            elif name in other and keep_theirs:
                bits[name], shapes[name] = other.bits(name), other.shape(name)
        return Choice.from_bits(bits, shapes, self.layer)
