"""Every state the masks went through, kept as keyframes and differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final

import torch

from sleepengine.journal.frames import Bits, Frame, Plane, compress, difference, xor_frame


@final
class JournalSize(NamedTuple):
    """What a journal keeps: records, transactions, mask differences, keyframes, bytes of masks."""

    records: int
    transactions: int
    deltas: int
    keyframes: int
    nbytes: int


@final
class History:
    """state[p] = keyframe[q] XOR delta[q+1] XOR ... XOR delta[p], with q the nearest keyframe <= p.

    Positions count states; a push of masks that did not change makes no new one. The oldest states
    can be folded into the first keyframe, after which positions keep their numbers.

    A keyframe shares the streams of the planes that did not change since the one before, so a push
    costs time in the tensors it touches and never in the whole store.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], keyframe_every: int) -> None:
        self.shapes = shapes
        self._every = keyframe_every
        self.base = 0
        self.keyframes: dict[int, Frame] = {0: {}}
        self.deltas: list[Frame] = []
        self.latest: Bits = {}
        # Position of the last keyframe, streams to start the next one from, and the planes that
        # changed since those streams were made.
        self._last = 0
        self._key: Frame = {}
        self._touched: dict[Plane, None] = {}

    @classmethod
    def restored(
        cls,
        shapes: Mapping[str, torch.Size],
        keyframe_every: int,
        base: int,
        keyframes: dict[int, Frame],
        deltas: list[Frame],
    ) -> History:
        """The history of saved parts; the last state is rebuilt from them."""
        history = cls(shapes, keyframe_every)
        history.base, history.keyframes, history.deltas = base, dict(keyframes), list(deltas)
        last = history._last = max(keyframes)
        history._key = keyframes[last]
        history._touched = {plane: None for one in deltas[last - base :] for plane in one}
        history.latest = history.at(history.end)
        return history

    @property
    def end(self) -> int:
        """Position of the last state."""
        return self.base + len(self.deltas)

    def start(self, bits: Bits) -> None:
        """Make these bits the first and only state."""
        self.latest = dict(bits)
        self._key = {plane: compress(one) for plane, one in bits.items()}
        self._touched, self._last = {}, 0
        self.base, self.keyframes, self.deltas = 0, {0: self._key}, []

    def push(self, bits: Bits) -> int:
        """Add a state after the last; returns its position."""
        change = difference(self.latest, bits)
        # Kept even when nothing differs: the tensors are then shared with the caller's store, and
        # the next comparison is free.
        self.latest = dict(bits)
        if not change:
            return self.end
        self.deltas.append({plane: compress(one) for plane, one in change.items()})
        self._touched.update(dict.fromkeys(change))
        if self.end - self._last >= self._every:
            self._add_keyframe()
        return self.end

    def at(self, position: int, only: str | None = None) -> Bits:
        """The bits at a position from `base` to `end`, of every name or of one."""
        nearest = max(p for p in self.keyframes if p <= position)
        bits: Bits = {}
        self._xor(bits, self.keyframes[nearest], only)
        self.advance(bits, nearest, position, only)
        return bits

    def advance(self, bits: Bits, position: int, to: int, only: str | None = None) -> None:
        """Bring the bits of one position forward to a later one."""
        for delta in self.deltas[position - self.base : to - self.base]:
            self._xor(bits, delta, only)

    def fold(self, position: int) -> None:
        """Forget the states before a position: it becomes the first keyframe."""
        if position <= self.base:
            return
        nearest = max(p for p in self.keyframes if p <= position)
        first = dict(self.keyframes[nearest])
        for delta in self.deltas[nearest - self.base : position - self.base]:
            self._fold_delta(first, delta)
        del self.deltas[: position - self.base]
        self.keyframes = {p: f for p, f in self.keyframes.items() if p > position}
        self.keyframes[position] = first
        self.base, self._last = position, max(self._last, position)

    def copy(self) -> History:
        """The same states, to be extended apart; frames are shared."""
        return History.restored(
            self.shapes, self._every, self.base, dict(self.keyframes), list(self.deltas)
        )

    def size(self, records: int, transactions: int) -> JournalSize:
        """What is kept; a stream counts once however many keyframes share it."""
        frames = [*self.keyframes.values(), *self.deltas]
        streams = {id(stream): len(stream) for frame in frames for stream in frame.values()}
        keyframes, nbytes = len(self.keyframes), sum(streams.values())
        return JournalSize(records, transactions, len(self.deltas), keyframes, nbytes)

    def _xor(self, bits: Bits, frame: Frame, only: str | None) -> None:
        if only is not None:
            frame = {plane: stream for plane, stream in frame.items() if plane[2] == only}
        xor_frame(bits, frame, self.shapes)

    def _fold_delta(self, first: Frame, delta: Frame) -> None:
        for plane, stream in delta.items():
            old = first.pop(plane, None)
            if old is None:
                first[plane] = stream
                continue
            bits: Bits = {}
            xor_frame(bits, {plane: old}, self.shapes)
            xor_frame(bits, {plane: stream}, self.shapes)
            if plane in bits:
                first[plane] = compress(bits[plane])

    def _add_keyframe(self) -> None:
        frame = dict(self._key)
        for plane in self._touched:
            if plane in self.latest:
                frame[plane] = compress(self.latest[plane])
            else:
                frame.pop(plane, None)
        self.keyframes[self.end] = frame
        self._last, self._key, self._touched = self.end, frame, {}
