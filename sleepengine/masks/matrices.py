"""Matrices as people hold them (tensors, arrays, SciPy sparse, lists), read into dense tensors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import SetupError


def matrix(where: Any) -> Tensor | None:
    """A tensor for tensors, arrays and SciPy sparse matrices (the last as bool); else None."""
    if isinstance(where, Tensor):
        return where.detach().to_dense().cpu() if where.layout != torch.strided else where.cpu()
    if isinstance(where, np.ndarray):
        return torch.from_numpy(plain_array(where))
    # Only a program that has loaded SciPy can hold one of its matrices.
    if "scipy.sparse" in sys.modules:
        from scipy import sparse

        if sparse.issparse(where):
            entries = where.tocoo()
            mask = torch.zeros(entries.shape, dtype=torch.bool)
            chosen = np.nonzero(entries.data)[0]
            rows, columns = entries.row[chosen], entries.col[chosen]
            mask[torch.from_numpy(rows.astype(np.int64)), columns.astype(np.int64)] = True
            return mask
    return None


def as_tensor(values: Any) -> Tensor:
    """`matrix`, and nested lists of numbers as well."""
    found = matrix(values)
    return torch.from_numpy(plain_array(values)) if found is None else found


def plain_array(values: Any) -> np.ndarray[Any, Any]:
    """An array of bools or real numbers, else SetupError."""
    try:
        array = np.array(values)
    except ValueError as error:
        raise SetupError(f"this is not a matrix of numbers: {error}") from None
    if array.dtype.kind not in "biuf":
        raise SetupError(f"expected numbers or bools, got an array of dtype {array.dtype}")
    return array


def counts_matrix(rows: Tensor, columns: Tensor, counts: Tensor, shape: Sequence[int]) -> Any:
    """A SciPy CSR matrix of whole numbers; what stands at one place several times is added up.

    Raises:
        SetupError: SciPy is not installed.
    """
    try:
        from scipy import sparse
    except ImportError as error:
        raise SetupError(
            "adjacency matrices need SciPy: pip install 'sleepengine[sparse]'"
        ) from error
    places = (rows.numpy(), columns.numpy())
    found = sparse.coo_array((counts.numpy(), places), shape=tuple(shape)).tocsr()
    found.eliminate_zeros()
    return found


def two_dimensional(matrix: Tensor) -> Tensor:
    """The matrix itself, once it has two dimensions, else SetupError."""
    if matrix.dim() != 2:
        raise SetupError(f"expected a matrix of two dimensions, got shape {tuple(matrix.shape)}")
    return matrix
