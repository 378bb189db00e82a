"""One pass over all scores against a bracket, by compiled functions where the scores allow it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sleepengine.choosing.flat import Array, Pair
from sleepengine.masks.native import fits, native


@dataclass(frozen=True)
class Bracket:
    """The k-th score is in [low, high], if the sample is to be trusted."""

    low: np.generic
    high: np.generic
    ends_are_common: bool


@dataclass(frozen=True)
class Scan:
    """What one pass found, in the order of the scores.

    `below`, `at_low`, `at_high`: how many are under, on the lower and on the upper end. `spots`
    and `inside`: position over all tensors and score of the others in the bracket. With ends that
    are not common, those on the ends are among the others and not counted apart.
    """

    below: int
    at_low: int
    at_high: int
    spots: Array
    inside: Array


def scan_compiled(
    tensors: Sequence[Pair], bracket: Bracket, outs: Sequence[Array], *, highest: bool, room: int
) -> Scan | None:
    """Choose all that is below the bracket and collect what is inside; None: it cannot be done.

    Args:
        tensors: scores of float32 in memory of their own, and which may be chosen.
        bracket: where the k-th is looked for.
        outs: the masks to write, flat.
        highest: scores are compared with their sign turned.
        room: how many are expected inside; when there are more, the pass is made again.
    """
    compiled = native()
    if compiled is None or not all(
        s.dtype is torch.float32 and fits(s) and (e is None or fits(e)) for s, e in tensors
    ):
        return None
    low, high, apart = float(bracket.low), float(bracket.high), int(bracket.ends_are_common)
    while True:
        spots, inside = np.empty(room, np.int64), np.empty(room, np.float32)
        totals, found, offset = (ctypes.c_int64 * 3)(), 0, 0
        for (scores, allowed), out in zip(tensors, outs, strict=True):
            done = min(found, room)
            found += compiled.scan_f32(
                scores.data_ptr(),
                None if allowed is None else allowed.data_ptr(),
                scores.numel(),
                -1.0 if highest else 1.0,
                low,
                high,
                apart,
                out.ctypes.data,
                spots.ctypes.data + 8 * done,
                inside.ctypes.data + 4 * done,
                room - done,
                offset,
                totals,
            )
            offset += len(out)
        if found <= room:
            return Scan(totals[0], totals[1], totals[2], spots[:found], inside[:found])
        room = found


def fill_compiled(outs: Sequence[Array], scan: Scan, edge: np.generic, k: int) -> bool:
    """Add what is below the edge and the first of its equals; False: it cannot be done."""
    compiled = native()
    if compiled is None or scan.inside.dtype != np.float32:
        return False
    ties = k - scan.below - int(np.count_nonzero(scan.inside < edge))
    start = 0
    for out in outs:
        first, last = np.searchsorted(scan.spots, (start, start + len(out)))
        spots, inside = scan.spots[first:last], scan.inside[first:last]
        at, size = out.ctypes.data, len(out)
        ties = compiled.settle_f32(
            spots.ctypes.data, inside.ctypes.data, len(spots), float(edge), ties, start, size, at
        )
        start += len(out)
    return True
