"""Many named masks of one model: packed to bits, each kept as what differs from a similar one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.errors import SetupError, StateError, UnknownNameError, did_you_mean
from sleepengine.masks.delta_chain import DeltaChain, read_chain
from sleepengine.masks.saved import check_format, section
from sleepengine.masks.snapshots import MaskSnapshot, iou
from sleepengine.masks.store import MaskStore

_FORMAT = 1
_MOST_ENTRIES = 2**48  # far beyond any tensor, and no size overflows


@final
class MaskSets(Mapping[str, MaskSnapshot]):
    """Name -> mask of the whole model; reading gives a `MaskSnapshot` (True = awake).

    Every mask is kept as the XOR with the mask that it differs from least (or with nothing
    asleep), compressed, so that similar masks cost what differs. All masks speak of the same
    parameters; the first one settles which, unless `shapes` does. `engine.set_masks(sets["a"])`
    brings a model to a mask in one call.

    Raises:
        UnknownNameError: there is no mask of that name.
        SetupError: a mask speaks of other parameters or shapes, or is not bool.

    >>> sets = MaskSets()
    >>> sets["a"] = {"w": torch.tensor([True, True, False, False])}
    >>> sets["b"] = {"w": torch.tensor([True, False, True, False])}
    >>> sets.union("a", "b")["w"].tolist(), sets.difference("a", "b")["w"].tolist()
    ([True, True, True, False], [False, True, False, False])
    >>> round(sets.iou("a", "b"), 3), sets.awake_shares("a"), sets.shared("a")
    (0.333, {'w': 0.5}, {'w': 0.3333333333333333})
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        self._shapes: dict[str, torch.Size] = {}
        if shapes is not None:
            self._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self._settled = shapes is not None
        self._chain = DeltaChain()

    # --- a mapping -----------------------------------------------------------------------------

    def __setitem__(self, name: str, masks: MaskStore | Mapping[str, Tensor]) -> None:
        """Keep a store's awake set, a snapshot, or name -> bool tensor (True = awake)."""
        if not isinstance(name, str) or not name:
            raise SetupError(f"the name of a mask is text, got {name!r}")
        snapshot = _snapshot(masks)
        shapes = {one: snapshot.shape(one) for one in snapshot}
        if self._settled:
            _check_same(self._shapes, shapes, name)
        else:
            self._shapes, self._settled = shapes, True
        self._chain.put(name, _bits(snapshot))

    def __delitem__(self, name: str) -> None:
        """Forget a mask."""
        self._check(name)
        self._chain.drop(name)

    def __getitem__(self, name: str) -> MaskSnapshot:
        self._check(name)
        return MaskSnapshot.from_bits(self._chain.get(name), self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._chain

    def __iter__(self) -> Iterator[str]:
        return iter(self._chain)

    def __len__(self) -> int:
        return len(self._chain)

    def __repr__(self) -> str:
        parts = (f"{n} {1 - s.fraction():.4f} awake" for n, s in self.items())
        return f"MaskSets({', '.join(parts) or 'none'})"

    # --- algebra -------------------------------------------------------------------------------

    def union(self, *names: str) -> MaskSnapshot:
        """Awake in any of these masks; all of them when none is named."""
        return reduce(MaskSnapshot.__or__, self._several(names))

    def intersection(self, *names: str) -> MaskSnapshot:
        """Awake in each of these masks; all of them when none is named."""
        return reduce(MaskSnapshot.__and__, self._several(names))

    def difference(self, first: str, second: str) -> MaskSnapshot:
        """Awake in the first and not in the second."""
        return self[first] - self[second]

    def complement(self, name: str) -> MaskSnapshot:
        """Awake where this mask sleeps, in the parameters that masks speak of."""
        return ~self[name]

    def iou(self, first: str, second: str) -> float:
        """|A and B| / |A or B| of the awake entries; 1.0 when none is awake."""
        return iou(self[first], self[second])

    def iou_by_parameter(self, first: str, second: str) -> dict[str, float]:
        """The same for every parameter."""
        both, either = (self[first] & self[second]).counts(), (self[first] | self[second]).counts()
        return {name: both[name] / either[name] if either[name] else 1.0 for name in either}

    def awake_shares(self, name: str) -> dict[str, float]:
        """Parameter -> share awake; 0.0 of nothing."""
        counts = self[name].counts()
        return {n: k / m if (m := self._shapes[n].numel()) else 0.0 for n, k in counts.items()}

    def shared(self, name: str) -> dict[str, float]:
        """Parameter -> |mask and (union of the others)| / |union of all|; 0.0 of nothing.

        Source: Csordas, van Steenkiste and Schmidhuber 2021 (arXiv:2010.02066).
        """
        self._check(name)
        others = [other for other in self if other != name]
        every = self.union().counts()
        if not others:
            return dict.fromkeys(every, 0.0)
        both = (self[name] & self.union(*others)).counts()
        return {n: both[n] / k if k else 0.0 for n, k in every.items()}

    # --- save ----------------------------------------------------------------------------------

    def nbytes(self) -> int:
        """Bytes that all masks take."""
        return self._chain.nbytes()

    def shapes(self) -> dict[str, torch.Size]:
        """Parameter -> shape; empty before the first mask."""
        return dict(self._shapes)

    def state_dict(self) -> dict[str, Any]:
        """Shapes, and for every mask its base and coded difference."""
        return {
            "format": _FORMAT,
            "shapes": {name: list(shape) for name, shape in self._shapes.items()},
            "masks": self._chain.state_dict(),
        }

    @classmethod
    def from_state(cls, state: object) -> MaskSets:
        """Masks from a saved state, checked in every point.

        Raises:
            StateError: anything does not fit.
        """
        parts = section(state, ["format", "shapes", "masks"], "mask sets")
        check_format(parts["format"], _FORMAT, "mask sets have")
        shapes = parts["shapes"]
        if not _are_shapes(shapes):
            raise StateError("mask sets need shapes: name -> list of sizes")
        sets = cls(shapes or None)
        sets._chain = read_chain(parts["masks"], sets._shapes)
        return sets

    # --- inside --------------------------------------------------------------------------------

    def _check(self, name: str) -> None:
        if name not in self._chain:
            raise UnknownNameError(f"there is no mask {name!r}. {did_you_mean(name, self._chain)}")

    def _several(self, names: Sequence[str]) -> list[MaskSnapshot]:
        if not names and not len(self):
            raise SetupError("there are no masks yet")
        return [self[name] for name in names or self]


def _snapshot(masks: MaskStore | Mapping[str, Tensor]) -> MaskSnapshot:
    if isinstance(masks, MaskSnapshot):
        return masks
    if isinstance(masks, MaskStore):
        bits = {name: masks.asleep_bits(name) for name in masks.names()}
        shapes = {name: masks.shape(name) for name in masks.names()}
        return MaskSnapshot.from_bits({n: b for n, b in bits.items() if b is not None}, shapes)
    if not isinstance(masks, Mapping):
        raise SetupError(f"give a MaskStore, MaskSnapshot or name -> bool tensor, got {masks!r}")
    return MaskSnapshot(masks)


def _bits(snapshot: MaskSnapshot) -> dict[str, Tensor]:
    asleep = snapshot.asleep()
    return {name: asleep.bits(name) for name in asleep}


def _check_same(mine: Mapping[str, torch.Size], given: Mapping[str, torch.Size], name: str) -> None:
    for one in [*mine, *(n for n in given if n not in mine)]:
        if mine.get(one) != given.get(one):
            here, there = mine.get(one), given.get(one)
            raise SetupError(
                f"mask {name!r} differs from the others at parameter {one!r}: shape "
                f"{'none' if there is None else tuple(there)} instead of "
                f"{'none' if here is None else tuple(here)}"
            )


def _are_shapes(shapes: object) -> bool:
    return isinstance(shapes, Mapping) and all(
        isinstance(name, str)
        and isinstance(shape, list)
        and all(type(size) is int and 0 <= size < _MOST_ENTRIES for size in shape)
        and math.prod(shape) < _MOST_ENTRIES
        for name, shape in shapes.items()
    )
