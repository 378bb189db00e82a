"""Tensors of any strides in pieces that stay in the cache; gradients that store few entries."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sleepengine.errors import SetupError


def pieces(words: Tensor, chunk: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Views of at most `chunk` entries and where each starts in row-major order, any strides."""
    if words.is_contiguous():
        flat = words.view(-1)
        for i in range(0, flat.numel(), chunk):
            yield start + i, flat[i : i + chunk]
        return
    if words.numel() <= chunk:
        yield start, words
        return
    row = words[0].numel()
    if row > chunk:
        for i in range(len(words)):
            yield from pieces(words[i], chunk, start + i * row)
        return
    step = chunk // row
    for i in range(0, len(words), step):
        yield start + i * row, words[i : i + step]


def and_sparse_(tensor: Tensor, keep: Tensor) -> None:
    """Stored values of a sparse tensor become +0.0 where the packed bits are clear, in place.

    Raises:
        SetupError: another layout than sparse COO.
    """
    if tensor.layout is not torch.sparse_coo:
        raise SetupError(f"a {tensor.layout} gradient cannot be masked; valid: strided, sparse_coo")
    # Every stored entry is masked by its own position, so duplicates need no coalescing.
    indices, values = tensor.detach()._indices(), tensor.detach()._values()
    flat = torch.zeros(indices.shape[1], dtype=torch.int64, device=tensor.device)
    for dim, index in enumerate(indices):
        flat = flat * tensor.shape[dim] + index
    inner = values[0].numel() if len(values) else 0
    at = flat[:, None] * inner + torch.arange(inner, device=tensor.device)
    kept = (keep[at >> 3].to(torch.int64) >> (at & 7)) & 1
    values.masked_fill_((kept == 0).view(values.shape), 0)
