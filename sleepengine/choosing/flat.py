"""Scores as plain numbers that numpy can compare: flat, in one type, lowest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray
Pair: TypeAlias = tuple[Tensor, Tensor | None]

# 128 K numbers of 4 bytes stay in a core's own cache between one comparison and the next.
CHUNK = 1 << 17


class Picked(NamedTuple):
    """Masks in the order of the scores; `edge`: the last score chosen, None when nothing was."""

    masks: list[Tensor]
    edge: float | None


class Piece(NamedTuple):
    """One chunk of one tensor: where it starts and ends, its numbers, which may be chosen."""

    tensor: int
    start: int
    stop: int
    values: Array
    allowed: Array | None


def common(tensors: Sequence[Tensor]) -> np.dtype:
    """The type that holds every score exactly: int64, float32 (halves too) or float64.

    >>> common([torch.ones(1, dtype=torch.bfloat16), torch.ones(1)])
    dtype('float32')
    """
    whole = [not t.dtype.is_floating_point for t in tensors]
    if tensors and all(whole):
        return np.dtype(np.int64)
    if any(whole) or any(t.dtype == torch.float64 for t in tensors):
        return np.dtype(np.float64)
    return np.dtype(np.float32)


def flip(values: Array) -> Array:
    """Numbers in the reverse order, ties kept; `flip` undoes it.

    >>> flip(np.array([-2.0, 3.0])), flip(np.array([-2, 3]))
    (array([ 2., -3.]), array([ 1, -4]))
    """
    # ~x = -x - 1 turns whole numbers around without overflow.
    return np.negative(values) if values.dtype.kind == "f" else np.invert(values)


def plain(values: Tensor, kind: np.dtype) -> Array:
    """A 1-D tensor as numpy; no copy when it is already of that kind."""
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.numpy().astype(kind, copy=False)


def pieces(pairs: Sequence[Pair], *, highest: bool, kind: np.dtype, chunk: int) -> Iterator[Piece]:
    """The tensors in order, cut into chunks; where `highest`, turned so that low means high."""
    for number, (scores, eligible) in enumerate(pairs):
        flat = scores.detach().reshape(-1)
        allowed = None if eligible is None else eligible.reshape(-1).numpy()
        for start in range(0, flat.numel(), chunk):
            stop = min(start + chunk, flat.numel())
            values = plain(flat[start:stop], kind)
            yield Piece(
                number,
                start,
                stop,
                flip(values) if highest else values,
                None if allowed is None else allowed[start:stop],
            )


def edge_value(edge: np.generic, *, highest: bool) -> float:
    """The edge as a plain float in the scores' own direction; -0.0 is 0.0."""
    return float(flip(np.asarray(edge)) if highest else edge) + 0.0
