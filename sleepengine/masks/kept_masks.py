"""Masks kept under tags, to be looked at and taken back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, final

import torch

from sleepengine.errors import StateError, UnknownNameError, did_you_mean
from sleepengine.masks.choice import Kind
from sleepengine.masks.planes import Planes, read_planes
from sleepengine.masks.snapshots import MaskSnapshot


@final
class KeptMasks:
    """Tag -> every bit of a store at one moment; packed bits are shared with the store."""

    def __init__(self, planes: Mapping[str, Planes] | None = None) -> None:
        self._planes = dict(planes or {})

    def __getitem__(self, tag: str) -> Planes:
        self._check(tag)
        return self._planes[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self._planes)

    def keep(self, tag: str, planes: Planes) -> None:
        """Keep a copy under a tag, over an older one."""
        if not isinstance(tag, str):
            raise TypeError(f"the tag of a snapshot is a str, got {tag!r}")
        self._planes[tag] = planes.copy()

    def drop(self, tag: str) -> None:
        """Forget one tag."""
        self._check(tag)
        del self._planes[tag]

    def copy(self) -> KeptMasks:
        """The same, to be changed apart."""
        return KeptMasks(self._planes)

    def state_dict(self) -> dict[str, Any]:
        """Tag -> state of its planes."""
        return {tag: planes.state_dict() for tag, planes in self._planes.items()}

    def _check(self, tag: str) -> None:
        if tag not in self._planes:
            raise UnknownNameError(
                f"there is no snapshot {tag!r}. {did_you_mean(tag, self._planes)}"
            )


def read_kept(state: object, shapes: Mapping[str, torch.Size]) -> KeptMasks:
    """Kept masks of a saved state, checked in every point; the state is only read.

    Raises:
        StateError: a tag, name, dtype, length, padding bit or count does not fit.
    """
    if not isinstance(state, Mapping) or not all(isinstance(tag, str) for tag in state):
        raise StateError("the snapshots of a mask state must be a dict keyed by tags")
    return KeptMasks(
        {tag: read_planes(one, shapes, f"snapshots[{tag!r}]") for tag, one in state.items()}
    )


def awake_set(planes: Planes, shapes: Mapping[str, torch.Size]) -> MaskSnapshot:
    """The awake entries of every name, over both layers."""
    found = {name: planes.effective(Kind.ASLEEP, name) for name in shapes}
    return MaskSnapshot.from_bits({n: b for n, b in found.items() if b is not None}, shapes)
