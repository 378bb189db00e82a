"""The inverse of a sum of outer products, one or several vectors at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from saliency.curvature.blocks import at_once


def start(count: int, size: int, damping: float, like: Tensor) -> Tensor:
    """The inverse before any vector: `count` blocks I / damping, [count, size, size]."""
    eye = torch.eye(size, dtype=like.dtype, device=like.device) / damping
    return eye.expand(count, size, size).clone()


def add_rows(inverse: Tensor, rows: Tensor, total: int) -> None:
    """V <- V - V X' (P I + X V X')^-1 X V, in place: V becomes (V^-1 + X'X / P)^-1.

    With one row this is the rank-one recursion; r rows at a time give the same inverse with a
    r-th of the memory traffic.

    Args:
        inverse: Blocks [k, B, B], symmetric.
        rows: [k, r, B], the vectors X cut into the same blocks.
        total: P, the number of vectors in all.

    Source: Hassibi and Stork 1993 (one row), by the Sherman-Morrison-Woodbury identity.

    >>> v = start(1, 2, damping=1.0, like=torch.zeros(1))
    >>> add_rows(v, torch.tensor([[[1.0, 1.0]]]), total=1)
    >>> v * 3
    tensor([[[ 2.0000, -1.0000],
             [-1.0000,  2.0000]]])
    """
    product = rows @ inverse
    small = product @ rows.mT
    small.diagonal(dim1=-2, dim2=-1).add_(total)
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(small), product, upper=False)
    inverse.baddbmm_(half.mT, half, alpha=-1)


def add_to_matrix(matrix: Tensor, rows: Tensor, total: int) -> None:
    """H <- H + X'X / P, in place, in float32 or float64; shapes as in `add_rows`.

    >>> h = torch.eye(2)[None].clone()
    >>> add_to_matrix(h, torch.tensor([[[1.0, 1.0]]]), total=1)
    >>> h
    tensor([[[2., 1.],
             [1., 2.]]])
    """
    matrix.baddbmm_(rows.mT, rows, alpha=1 / total)


def in_runs(blocks: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of a few blocks and their rows at a time, small enough to stay in cache."""
    run = at_once(blocks)
    yield from zip(blocks.split(run), rows.split(run), strict=True)
