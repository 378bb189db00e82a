"""The lowest scores of every row of a matrix, each row with a count of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sleepengine.choosing.flat import CHUNK

# np.partition places several ranks at once, but a sort is cheaper than many of them.
FEW_RANKS = 4


def lowest_of_rows(
    scores: Tensor,
    eligible: Tensor | None,
    counts: Tensor,
    *,
    highest: bool = False,
    chunk: int = CHUNK,
) -> tuple[Tensor, float | None]:
    """In row i the counts[i] first eligible scores in the order (score, column).

    Args:
        scores: (rows, size), real, no NaN.
        eligible: bool (rows, size), or None where every unit may be chosen.
        counts: whole numbers (rows,), none above the row's eligible units.
        highest: the highest scores instead; ties still go to the lowest column.
        chunk: about how many scores are worked on at a time.

    Returns:
        The mask (rows, size), and the last score chosen of all rows, None when none was.

    >>> lowest_of_rows(torch.tensor([[3., 1., 2.], [5., 5., 5.]]), None, torch.tensor([1, 2]))
    (tensor([[False,  True, False],
            [ True,  True, False]]), 5.0)
    """
    mask = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    edges: list[float] = []
    step = max(1, chunk // max(1, scores.shape[1]))
    for start in range(0, scores.shape[0], step):
        rows = slice(start, start + step)
        count = counts[rows].to(scores.device)
        if not bool(count.any()):
            continue
        allowed = None if eligible is None else eligible[rows]
        values = _turned(scores[rows].detach(), highest)
        kth = _kth(_last_if_barred(values, allowed), count)
        chosen = values < kth
        equal = values == kth
        if allowed is not None:
            chosen &= allowed
            equal &= allowed
        missing = (count - chosen.sum(1)).unsqueeze(1)
        chosen |= equal & (equal.cumsum(1) <= missing)
        chosen &= (count > 0).unsqueeze(1)
        mask[rows] = chosen
        edges.append(float(_turned(kth[count > 0].max(), highest)) + 0.0)
    if not edges:
        return mask, None
    return mask, min(edges) if highest else max(edges)


def _turned(values: Tensor, highest: bool) -> Tensor:
    """Numbers that torch and numpy both compare, lowest first; twice gives them back."""
    if values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    elif not values.dtype.is_floating_point:
        values = values.long()
    if not highest:
        return values
    return -values if values.dtype.is_floating_point else ~values


def _last_if_barred(values: Tensor, allowed: Tensor | None) -> Tensor:
    """Units that may not be chosen get the largest number, so that they never lower a rank."""
    if allowed is None:
        return values
    floating = values.dtype.is_floating_point
    top = float("inf") if floating else torch.iinfo(values.dtype).max
    return values.masked_fill(~allowed, top)


def _kth(values: Tensor, counts: Tensor) -> Tensor:
    """(rows, 1): the counts[i]-th lowest number of row i; where counts[i] is 0, the lowest."""
    ranks = (counts.long() - 1).clamp(min=0).unsqueeze(1)
    if values.device.type != "cpu":
        return values.sort(dim=1).values.gather(1, ranks)
    numbers = values.numpy()
    wanted = np.unique(ranks.numpy())
    if len(wanted) <= FEW_RANKS:
        placed = np.partition(numbers, wanted, axis=1)
    else:
        placed = np.sort(numbers, axis=1)
    return torch.from_numpy(np.take_along_axis(placed, ranks.numpy(), axis=1))
