"""The k lowest of many scores, exactly, and as fast as their number asks for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sleepengine.choosing.bracket import bracket_lowest
from sleepengine.choosing.flat import CHUNK, Pair, Picked, common, edge_value, flip, plain
from sleepengine.choosing.on_device import device_lowest

# Below this many scores one partition of a copy is faster than sampling and a scan.
LARGE = 4_000_000


def lowest(tensors: Sequence[Pair], k: int, *, highest: bool = False) -> list[Tensor]:
    """The masks of `pick_lowest`.

    >>> lowest([(torch.tensor([3.0, 1.0]), None), (torch.tensor([1.0, 2.0]), None)], 1)
    [tensor([False,  True]), tensor([False, False])]
    """
    return pick_lowest(tensors, k, highest=highest).masks


def pick_lowest(
    tensors: Sequence[Pair],
    k: int,
    *,
    highest: bool = False,
    large: int = LARGE,
    chunk: int = CHUNK,
) -> Picked:
    """The k first of all eligible scores in the order (score, tensor, flat index).

    The result is that of one stable sort of everything. No score may be NaN.

    Args:
        tensors: pairs (scores, eligible); eligible is a bool tensor of the same shape, or None
            where every unit may be chosen. Scores are real, of any type, on any device.
        k: how many to choose, 0 to the number of eligible units.
        highest: choose the highest scores instead; ties still go to the lowest index.
        large: from how many scores on they are scanned in place of being copied.
        chunk: how many scores are compared at a time.

    Raises:
        ValueError: `k` is negative or above the number of eligible units.
    """
    able = sum(s.numel() if e is None else int(e.count_nonzero()) for s, e in tensors)
    if not 0 <= k <= able:
        raise ValueError(f"{k} units are asked for and {able} may be chosen.")
    if k == 0:
        return Picked([torch.zeros_like(s, dtype=torch.bool) for s, _ in tensors], None)
    if k == able:
        return _all_of(tensors, highest=highest)
    if any(s.device.type != "cpu" for s, _ in tensors):
        return device_lowest(tensors, k, highest=highest)
    if sum(s.numel() for s, _ in tensors) <= large:
        return partition_lowest(tensors, k, highest=highest)
    return bracket_lowest(tensors, k, able, highest=highest, chunk=chunk)


def _all_of(tensors: Sequence[Pair], *, highest: bool) -> Picked:
    """Everything that may be chosen."""
    masks, edges = [], []
    for scores, eligible in tensors:
        may = torch.ones_like(scores, dtype=torch.bool) if eligible is None else eligible.clone()
        masks.append(may)
        # Scores of a rule without a scorer are one number, seen at every place.
        alike = scores.numel() > 0 and not any(scores.stride())
        values = scores.detach().reshape(-1)[:1] if alike else scores.detach()[may]
        if bool(may.any()):
            edges.append(float(values.min() if highest else values.max()) + 0.0)
    if any(edge != edge for edge in edges):
        raise ValueError("The scores have no k-th value: one of them is NaN.")
    return Picked(masks, min(edges) if highest else max(edges))


def partition_lowest(tensors: Sequence[Pair], k: int, *, highest: bool) -> Picked:
    """Quickselect on a copy of the eligible scores, then compare with the k-th (1 <= k)."""
    kind = common([s for s, _ in tensors])
    values = [plain(s.detach().reshape(-1), kind) for s, _ in tensors]
    allowed = [None if e is None else e.reshape(-1).numpy() for _, e in tensors]
    if highest:
        values = [flip(v) for v in values]
    able = [v if a is None else v[a] for v, a in zip(values, allowed, strict=True)]
    edge = np.partition(np.concatenate(able), k - 1)[k - 1]

    below = [
        v < edge if a is None else (v < edge) & a for v, a in zip(values, allowed, strict=True)
    ]
    left = k - sum(int(np.count_nonzero(b)) for b in below)
    for mask, number, may in zip(below, values, allowed, strict=True):
        if left == 0:
            break
        equal = number == edge if may is None else (number == edge) & may
        ties = np.flatnonzero(equal)[:left]
        mask[ties] = True
        left -= len(ties)
    masks = [torch.from_numpy(b).view(s.shape) for b, (s, _) in zip(below, tensors, strict=True)]
    return Picked(masks, edge_value(edge, highest=highest))
