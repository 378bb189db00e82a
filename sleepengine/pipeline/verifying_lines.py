"""What the lines of a run say of its networks, against their masks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sleepengine.errors import FileError, StateError
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.run_lines import Lines

Row: TypeAlias = dict[str, Any]
Rows: TypeAlias = Mapping[Lines, Sequence[Row]]

_NAME = re.compile(r"(?P<arm>.+)-s(?P<seed>[0-9]+)-l(?P<level>[0-9]+)\.masks")


def fits_results(file: str, store: MaskStore, rows: Rows, meta: Mapping[str, Any]) -> None:
    """Awake by the results = entries of the tensors in scope - those asleep by the masks.

    Raises:
        FileError: the file's name is none of a network.
        StateError: the numbers differ.
    """
    total = sum(store.numel(name) for name in store.names())
    known = meta["model"].get("parameters")
    if isinstance(known, int) and total > known:
        raise StateError(f"the masks are of {total} weights, the model has {known}")
    result, curves = _of(file, rows[Lines.RESULTS]), _of(file, rows[Lines.CURVES])
    if not result or not curves or not isinstance(curves[-1].get("layers"), dict):
        return
    scope = [name for name in curves[-1]["layers"] if name in store.names()]
    awake = sum(store.numel(name) - store.asleep_count(name) for name in scope)
    told = result[-1].get("awake_count")
    if awake != told:
        raise StateError(f"{awake} weights are awake by the masks, {told} by the results")


def fits_journal(file: str, store: MaskStore, rows: Rows) -> None:
    """The last line of the journal about a tensor leaves as many asleep as the masks have.

    Raises:
        FileError: the file's name is none of a network.
        StateError: the numbers differ.
    """
    last: dict[str, Any] = {}
    for row in _of(file, rows[Lines.JOURNAL]):
        tensors = row.get("tensors")
        last |= tensors if isinstance(tensors, dict) else {}
    for name, counts in last.items():
        asleep = counts.get("asleep") if isinstance(counts, dict) else None
        if name not in store.names() or asleep != store.asleep_count(name):
            here = store.asleep_count(name) if name in store.names() else "no such tensor"
            raise StateError(f"{name!r}: {asleep} asleep by the journal, {here} by the masks")


def _of(file: str, rows: Sequence[Row]) -> list[Row]:
    """The lines about the network of a mask file."""
    found = _NAME.fullmatch(file)
    if found is None:
        raise FileError(f"{file}: a mask file is called ARM-sSEED-lLEVEL.masks")
    key = (found["arm"], int(found["seed"]), int(found["level"]))
    return [row for row in rows if (row.get("arm"), row.get("seed"), row.get("level")) == key]
