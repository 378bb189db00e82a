"""The slow, obviously right selection that every fast one is held against."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Reference = Callable[..., list[Tensor]]


def _reference(
    pairs: list[tuple[Tensor, Tensor | None]], k: int, highest: bool = False
) -> list[Tensor]:
    """One stable sort of all eligible scores in the order (score, tensor, flat index)."""
    entries = []
    for number, (scores, eligible) in enumerate(pairs):
        flat = scores.double() if scores.dtype.is_floating_point else scores
        able = [True] * scores.numel() if eligible is None else eligible.flatten().tolist()
        for index, value in enumerate(flat.flatten().tolist()):
            if able[index]:
                entries.append((-value if highest else value, number, index))
    masks = [torch.zeros(s.numel(), dtype=torch.bool) for s, _ in pairs]
    for _, number, index in sorted(entries)[:k]:
        masks[number][index] = True
    return [m.view(s.shape) for m, (s, _) in zip(masks, pairs, strict=True)]


@pytest.fixture(scope="session")
def reference() -> Reference:
    return _reference
