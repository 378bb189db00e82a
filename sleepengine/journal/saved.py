"""The journal as plain values and tensors, and back, checked in every point."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from sleepengine.errors import StateError
from sleepengine.journal.frames import Frame, Plane
from sleepengine.journal.history import History
from sleepengine.journal.record import Record
from sleepengine.journal.timeline import Timeline, Transaction
from sleepengine.masks.choice import Kind, Layer
from sleepengine.masks.saved import check_format, check_shapes, section

_FORMAT = 1
_KEYS = [
    "format", "shapes", "begun", "next_index", "records", "transactions", "folded", "lap",
    "base", "deltas", "keyframes", "planes", "table", "sizes", "streams", "sha256",
]  # fmt: skip


@final
class Parts(NamedTuple):
    """What a journal is made of."""

    next_index: int
    records: list[Record]
    timeline: Timeline
    history: History

    def copy(self) -> Parts:
        """The same parts, to be extended apart."""
        return Parts(self.next_index, list(self.records), self.timeline.copy(), self.history.copy())


def write_parts(parts: Parts, begun: bool, shapes: Mapping[str, torch.Size]) -> dict[str, Any]:
    """A state of plain values and three tensors.

    Frames are numbered: the differences in order, then the keyframes. Row [f, p, s] of `table` says
    that frame f holds stream s for plane p; streams that frames share are kept once.
    """
    timeline, history = parts.timeline, parts.history
    places = sorted(history.keyframes)
    frames = [*history.deltas, *(history.keyframes[place] for place in places)]
    planes: dict[Plane, int] = {}
    streams: dict[bytes, int] = {}
    rows = [
        [number, planes.setdefault(p, len(planes)), streams.setdefault(s, len(streams))]
        for number, frame in enumerate(frames)
        for p, s in frame.items()
    ]
    state: dict[str, Any] = {
        "format": _FORMAT,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "begun": begun,
        "next_index": parts.next_index,
        "records": [one.row() for one in parts.records],
        "transactions": [list(one) for one in timeline.transactions],
        "folded": None if timeline.folded is None else list(timeline.folded),
        "lap": timeline.lap,
        "base": history.base,
        "deltas": len(history.deltas),
        "keyframes": places,
        "planes": [[kind.value, layer.value, name] for kind, layer, name in planes],
        "table": torch.tensor(rows, dtype=torch.int64).view(-1, 3),
        "sizes": torch.tensor([len(s) for s in streams], dtype=torch.int64),
        "streams": _as_tensor(b"".join(streams)),
    }
    state["sha256"] = _digest(state)
    return state


def read_parts(
    state: object, shapes: Mapping[str, torch.Size], keyframe_every: int
) -> tuple[Parts, bool]:
    """The parts of a saved state, and whether it had begun; the state itself is only read.

    Raises:
        StateError: a part is missing, damaged, or does not fit.
    """
    fields = section(state, _KEYS, "journal state")
    check_format(fields["format"], _FORMAT, "journal state has")
    check_shapes(fields["shapes"], shapes)
    for key, dtype in (("table", torch.int64), ("sizes", torch.int64), ("streams", torch.uint8)):
        if not isinstance(fields[key], Tensor) or fields[key].dtype != dtype:
            raise StateError(f"{key} of a journal state must be a tensor of {dtype}")
    # Whatever the sum covers is as it was written, so what follows only has to be well formed.
    if fields["sha256"] != _digest(fields):
        raise StateError("the journal state is damaged: its sha256 does not fit its content")
    if type(fields["begun"]) is not bool:
        raise StateError(f"begun of a journal state must be a bool, got {fields['begun']!r}")
    try:
        history = _read_history(fields, shapes, keyframe_every)
        timeline = _read_timeline(fields, history)
        records = [Record.from_row(row) for row in fields["records"]]
        _check_records(fields["next_index"], records, timeline)
    except StateError:
        raise
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise StateError(f"the journal state does not hold together: {error}") from None
    return Parts(fields["next_index"], records, timeline, history), fields["begun"]


def _read_history(
    fields: Mapping[str, Any], shapes: Mapping[str, torch.Size], keyframe_every: int
) -> History:
    planes = [(Kind(kind), Layer(layer), name) for kind, layer, name in fields["planes"]]
    for _, _, name in planes:
        if name not in shapes:
            raise StateError(f"the journal state has masks of unknown {name!r}")
    raw = fields["streams"].cpu().numpy().tobytes()
    streams: list[bytes] = []
    start = 0
    for size in fields["sizes"].tolist():
        streams.append(raw[start : start + size])
        start += size
    places, deltas, base = fields["keyframes"], fields["deltas"], fields["base"]
    frames: list[Frame] = [{} for _ in range(deltas + len(places))]
    for frame, plane, stream in fields["table"].tolist():
        frames[frame][planes[plane]] = streams[stream]
    inside = places and places[0] == base and places[-1] <= base + deltas
    if not inside or start != len(raw):
        raise StateError("the keyframes or streams of the journal state do not fit its states")
    keyframes = dict(zip(places, frames[deltas:], strict=True))
    return History.restored(shapes, keyframe_every, base, keyframes, frames[:deltas])


def _read_timeline(fields: Mapping[str, Any], history: History) -> Timeline:
    timeline = Timeline()
    timeline.transactions = [Transaction(*row) for row in fields["transactions"]]
    timeline.folded = None if fields["folded"] is None else Transaction(*fields["folded"])
    timeline.lap = fields["lap"]
    if type(timeline.lap) is not int:
        raise StateError(f"lap of a journal state must be an int, got {timeline.lap!r}")
    before = -1
    position = history.base
    for one in timeline.transactions:
        if one.number <= before or not position <= one.before <= one.after <= history.end:
            raise StateError(f"transaction {one.number} of the journal state is out of order")
        before, position = one.number, one.after
    return timeline


def _check_records(next_index: int, records: list[Record], timeline: Timeline) -> None:
    """Every record belongs to its transaction, and the indices end just before the next."""
    owners = [(one.number, one.step) for one in timeline.transactions for _ in range(one.records)]
    found = [(one.transaction, one.step) for one in records]
    if owners != found:
        raise StateError("the records of the journal state do not fit its transactions")
    if [one.index for one in records] != list(range(next_index - len(records), next_index)):
        raise StateError("the records of the journal state are not numbered in order")


def _digest(state: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in state.items() if k != "sha256" and not isinstance(v, Tensor)}
    try:
        sha = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    except (TypeError, ValueError) as error:
        raise StateError(f"the journal state holds more than plain values: {error}") from None
    for key in ("table", "sizes", "streams"):
        sha.update(json.dumps([key, list(state[key].shape)]).encode())
        sha.update(state[key].detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()


def _as_tensor(raw: bytes) -> Tensor:
    # torch refuses an empty buffer.
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.zeros(0).byte()
