"""The k lowest of very many scores: a sample brackets the k-th, one scan settles the rest.

A sorted random sample gives two scores between which the k-th lies almost surely. One pass over
cache-sized chunks then chooses all that is below the bracket and collects the few inside it, and
a partition of those few is exact. If the k-th turns out to lie outside, the bracket is widened and
the scan repeated, up to a bracket that holds everything: the sample decides about speed alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from sleepengine.choosing.flat import (
    Array,
    Pair,
    Picked,
    common,
    edge_value,
    flip,
    pieces,
    plain,
)
from sleepengine.choosing.scan import Bracket, Scan, fill_compiled, scan_compiled

SAMPLE = 1 << 16
# Half widths in standard deviations of the sampled rank; the first misses once in 100 000.
WIDTHS = (4.5, 20.0, math.inf)
# More of the sample than this on one end of the bracket: do not collect equal scores one by one.
MANY = 0.01


def bracket_lowest(
    tensors: Sequence[Pair], k: int, able: int, *, highest: bool, chunk: int, sample: int = SAMPLE
) -> Picked:
    """The k first of the `able` eligible scores, 1 <= k <= able, in stable order."""
    kind = common([s for s, _ in tensors])
    masks = [torch.empty(s.shape, dtype=torch.bool) for s, _ in tensors]
    outs = [m.view(-1).numpy() for m in masks]
    for attempt, width in enumerate(WIDTHS):
        drawn = _draw(tensors, sample, attempt, highest=highest, kind=kind)
        bracket = _bracket(drawn, k / able, width)
        scan = scan_compiled(
            tensors, bracket, outs, highest=highest, room=_room(drawn, bracket, able)
        )
        if scan is None:
            scan = _scan(tensors, bracket, outs, highest=highest, kind=kind, chunk=chunk)
        edge = _settle(scan, bracket, k)
        if edge is None:
            continue
        if bracket.ends_are_common:
            _mark(tensors, outs, edge, k, highest=highest, kind=kind, chunk=chunk)
        else:
            _fill(outs, scan, edge, k)
        return Picked(masks, edge_value(edge, highest=highest))
    raise ValueError("The scores have no k-th value: one of them is NaN.")


def _draw(
    tensors: Sequence[Pair], sample: int, attempt: int, *, highest: bool, kind: np.dtype
) -> Array:
    """A sorted sample of the eligible scores: one random place in each of many equal strips."""
    random = np.random.default_rng(attempt)
    total = sum(s.numel() for s, _ in tensors)
    found = []
    for scores, eligible in tensors:
        n = scores.numel()
        if n == 0:
            continue
        strips = math.ceil(sample * n / total)
        places = ((np.arange(strips) + random.random(strips)) * (n / strips)).astype(np.int64)
        where = torch.from_numpy(np.minimum(places, n - 1))
        values = plain(scores.detach().reshape(-1)[where], kind)
        if eligible is not None:
            values = values[eligible.reshape(-1)[where].numpy()]
        found.append(values)
    drawn = np.concatenate(found)
    return np.sort(flip(drawn) if highest else drawn)


def _bracket(drawn: Array, share: float, width: float) -> Bracket:
    """The sample's scores `width` deviations before and after the wanted rank."""
    m = len(drawn)
    floating = drawn.dtype.kind == "f"
    low = drawn.dtype.type(-np.inf if floating else np.iinfo(np.int64).min)
    high = drawn.dtype.type(np.inf if floating else np.iinfo(np.int64).max)
    if math.isfinite(width):
        slack = width * math.sqrt(m * share * (1 - share)) + 2
        first, last = math.floor(m * share - slack), math.ceil(m * share + slack)
        low = drawn[first] if first >= 0 else low
        high = drawn[last] if last < m else high
    on_ends = np.count_nonzero(drawn == low) + np.count_nonzero(drawn == high)
    return Bracket(low, high, bool(on_ends > MANY * m))


def _scan(
    tensors: Sequence[Pair],
    bracket: Bracket,
    outs: Sequence[Array],
    *,
    highest: bool,
    kind: np.dtype,
    chunk: int,
) -> Scan:
    """Choose all that is below the bracket, count its ends, collect what is inside."""
    low, high, apart = bracket.low, bracket.high, bracket.ends_are_common
    offsets = np.cumsum([0] + [len(o) for o in outs])
    below = at_low = at_high = 0
    spots, inside = [np.empty(0, np.int64)], [np.empty(0, kind)]
    buffer = np.empty(chunk, dtype=bool)
    for piece in pieces(tensors, highest=highest, kind=kind, chunk=chunk):
        values, out = piece.values, outs[piece.tensor][piece.start : piece.stop]
        held = buffer[: len(values)]
        np.less(values, low, out=out)
        np.less_equal(values, high, out=held)
        if piece.allowed is not None:
            out &= piece.allowed
            held &= piece.allowed
        held ^= out
        below += int(np.count_nonzero(out))
        if apart:
            on_low = (values == low) & held
            on_high = (values == high) & held & ~on_low
            at_low += int(np.count_nonzero(on_low))
            at_high += int(np.count_nonzero(on_high))
            held &= ~(on_low | on_high)
        found = np.flatnonzero(held)
        inside.append(values[found])
        spots.append(found + (offsets[piece.tensor] + piece.start))
    return Scan(below, at_low, at_high, np.concatenate(spots), np.concatenate(inside))


def _settle(scan: Scan, bracket: Bracket, k: int) -> np.generic | None:
    """The k-th score, or None when it is not in the bracket."""
    rank = k - scan.below
    if rank <= 0:
        return None
    if rank <= scan.at_low:
        return bracket.low
    rank -= scan.at_low
    if rank <= len(scan.inside):
        return np.partition(scan.inside, rank - 1)[rank - 1]
    rank -= len(scan.inside)
    return bracket.high if rank <= scan.at_high else None


def _room(drawn: Array, bracket: Bracket, able: int) -> int:
    """About how many scores lie in the bracket, going by the sample, and some more."""
    within = np.count_nonzero((drawn >= bracket.low) & (drawn <= bracket.high))
    return min(able, int(1.15 * able * within / max(1, len(drawn))) + 1024)


def _fill(outs: Sequence[Array], scan: Scan, edge: np.generic, k: int) -> None:
    """Add the scores inside the bracket that are below the edge, and the first of its equals."""
    if fill_compiled(outs, scan, edge, k):
        return
    under = scan.spots[scan.inside < edge]
    ties = scan.spots[scan.inside == edge][: k - scan.below - len(under)]
    start = 0
    for out in outs:
        stop = start + len(out)
        for spots in (under, ties):
            first, last = np.searchsorted(spots, (start, stop))
            out[spots[first:last] - start] = True
        start = stop


def _mark(
    tensors: Sequence[Pair],
    outs: Sequence[Array],
    edge: np.generic,
    k: int,
    *,
    highest: bool,
    kind: np.dtype,
    chunk: int,
) -> None:
    """A second pass: all below the edge, then as many of its equals as are missing."""
    left = k
    for piece in pieces(tensors, highest=highest, kind=kind, chunk=chunk):
        out = outs[piece.tensor][piece.start : piece.stop]
        np.less(piece.values, edge, out=out)
        if piece.allowed is not None:
            out &= piece.allowed
        left -= int(np.count_nonzero(out))
    for piece in pieces(tensors, highest=highest, kind=kind, chunk=chunk):
        if left == 0:
            break
        equal = piece.values == edge
        if piece.allowed is not None:
            equal &= piece.allowed
        ties = np.flatnonzero(equal)[:left]
        outs[piece.tensor][piece.start : piece.stop][ties] = True
        left -= len(ties)
