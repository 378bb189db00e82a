"""The k lowest scores with torch alone, for tensors on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sleepengine.choosing.flat import Pair, Picked


def device_lowest(tensors: Sequence[Pair], k: int, *, highest: bool) -> Picked:
    """The k first (1 <= k) of all eligible scores, in stable order; masks stay on their devices.

    Each tensor's eligible scores are copied to the first tensor's device, where the k-th is found.
    """
    kind = _common([s for s, _ in tensors])
    home = tensors[0][0].device
    values = [_turned(s.detach(), kind, highest) for s, _ in tensors]
    able = [
        (v.reshape(-1) if e is None else v[e]).to(home)
        for v, (_, e) in zip(values, tensors, strict=True)
    ]
    edge = torch.kthvalue(torch.cat(able), k).values
    del able

    here = {v.device: edge.to(v.device) for v in values}
    masks = [v < here[v.device] for v in values]
    for mask, (_, eligible) in zip(masks, tensors, strict=True):
        if eligible is not None:
            mask &= eligible
    left = k - sum(int(m.count_nonzero()) for m in masks)
    for mask, number, (_, eligible) in zip(masks, values, tensors, strict=True):
        if left == 0:
            break
        equal = number == here[number.device]
        if eligible is not None:
            equal &= eligible
        ties = equal.reshape(-1).nonzero()[:left, 0]
        mask.view(-1)[ties] = True
        left -= len(ties)
    return Picked(masks, float(_turned(edge, kind, highest)) + 0.0)


def _turned(values: Tensor, kind: torch.dtype, highest: bool) -> Tensor:
    """Contiguous numbers of one kind, lowest first; twice gives the numbers back."""
    same = values.to(kind).contiguous()
    if not highest:
        return same
    return -same if kind.is_floating_point else ~same


def _common(tensors: Sequence[Tensor]) -> torch.dtype:
    """The type that holds every score exactly."""
    if all(not t.dtype.is_floating_point for t in tensors):
        return torch.int64
    if any(not t.dtype.is_floating_point or t.dtype == torch.float64 for t in tensors):
        return torch.float64
    return torch.float32
