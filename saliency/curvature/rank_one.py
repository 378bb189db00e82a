"""The inverse of a sum of outer products, one or several vectors at a time."""

from __future__ import annotations

import torch
from torch import Tensor


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
