"""Positions in a tensor, written in any of the usual ways, as one bool mask."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import SetupError, did_you_mean
from sleepengine.masks.matrices import as_tensor, matrix, two_dimensional

_LAYOUTS = ("out_in", "in_out", "bipartite")


def to_mask(where: Any, shape: Sequence[int], *, layout: str | None = None) -> Tensor:
    """True at the positions named by `where`, False elsewhere.

    Args:
        where: one of
            a tuple of ints, one position: `(3, 7)`;
            a list of such tuples; for a 1-D tensor an int or a list of ints;
            a slice, or a tuple with slices as in numpy: `(3, slice(None))` is row 3; `...` is all;
            a bool tensor or array of the parameter's shape;
            an integer tensor or array [k, ndim] of k positions;
            a SciPy sparse matrix (non-zero = chosen).
        shape: the parameter's shape.
        layout: "in_out" reads a mask or sparse matrix of the transposed shape; None and "out_in"
            read it as it is.

    Returns:
        bool tensor of that shape on the CPU. Negative indices count from the end.

    Raises:
        SetupError: out of range, wrong shape or dtype, or an int whose meaning is not clear.

    >>> to_mask((0, -1), (2, 3)).tolist()
    [[False, False, True], [False, False, False]]
    >>> to_mask([(0, 0), (1, 2)], (2, 3)).tolist()
    [[True, False, False], [False, False, True]]
    >>> to_mask((1, slice(None)), (2, 3)).tolist()
    [[False, False, False], [True, True, True]]
    """
    size = torch.Size(shape)
    if layout not in (None, "out_in", "in_out"):
        raise SetupError(f"layout={layout!r}: give 'out_in' or 'in_out', or leave it out")
    dense = matrix(where)
    if dense is not None:
        if dense.dtype == torch.bool:
            if layout == "in_out":
                dense = two_dimensional(dense).T
            return _checked_mask(dense, size)
        where = dense
    if layout == "in_out":
        raise SetupError(f"layout='in_out' is for masks and matrices, not for {_short(where)}")
    if isinstance(where, Tensor):
        return _from_index_table(where, size)
    if isinstance(where, list):
        return _from_list(where, size)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[_as_index(where, size)] = True
    return mask


def mask_from_adjacency(A: Any, layout: str, shape: Sequence[int] | None = None) -> Tensor:
    """mask[i, j] = True where the graph has an edge from input j to output i.

    Args:
        A: adjacency matrix; a tensor, an array or a SciPy sparse matrix; non-zero = edge.
        layout: "out_in": A[i, j] joins input j to output i (the shape of a Linear weight);
            "in_out": A[i, j] joins input i to output j;
            "bipartite": A is square over all nodes, inputs first, then outputs, and an edge counts
            in either direction; `shape` says how many there are of each.
        shape: (out, in); needed for "bipartite", otherwise checked where given.

    Returns:
        bool tensor (out, in).

    Raises:
        SetupError: an unknown layout, a shape that does not fit, NaN, or a bipartite matrix with
            edges among the inputs or among the outputs.

    >>> mask_from_adjacency([[1, 0, 2]], "out_in").tolist()
    [[True, False, True]]
    >>> mask_from_adjacency([[1, 0, 2]], "in_out").tolist()
    [[True], [False], [True]]
    >>> mask_from_adjacency([[0, 0, 1], [0, 0, 0], [0, 0, 0]], "bipartite", (1, 2)).tolist()
    [[True, False]]
    """
    if layout not in _LAYOUTS:
        raise SetupError(f"layout={layout!r} is not known. {did_you_mean(str(layout), _LAYOUTS)}")
    dense = as_tensor(A)
    if dense.is_floating_point() and bool(dense.isnan().any()):
        raise SetupError("the adjacency matrix holds NaN; an edge is any other non-zero value")
    edges = two_dimensional(dense) != 0
    if layout == "bipartite":
        return _bipartite(edges, shape)
    mask = edges.T.contiguous() if layout == "in_out" else edges
    return mask if shape is None else _checked_mask(mask, torch.Size(shape))


def _checked_mask(mask: Tensor, shape: torch.Size) -> Tensor:
    if mask.shape == shape:
        return mask.contiguous()
    hint = ""
    if mask.dim() == 2 and mask.shape == shape[::-1]:
        hint = " (the transposed shape would fit: transpose it, or say layout='in_out')"
    raise SetupError(
        f"the mask has shape {tuple(mask.shape)}, the parameter has {tuple(shape)}{hint}"
    )


def _from_index_table(table: Tensor, shape: torch.Size) -> Tensor:
    ndim = len(shape)
    if table.dtype.is_floating_point or table.dtype.is_complex:
        raise SetupError(
            f"a tensor of {table.dtype} is neither a mask nor positions; write `mask != 0` for a "
            "mask, or give integer positions"
        )
    if ndim == 1 and table.dim() == 1:
        table = table[:, None]
    if table.dim() != 2 or table.shape[1] != ndim:
        hint = "; a mask of ones and zeros must be bool" if table.shape == shape else ""
        raise SetupError(
            f"integer positions in a tensor of shape {tuple(shape)} have shape (k, {ndim}), "
            f"got {tuple(table.shape)}{hint}"
        )
    table = table.long()
    sizes = torch.tensor(shape)
    outside = ((table < -sizes) | (table >= sizes)).any(dim=1).nonzero().view(-1)
    if outside.numel():
        _refuse_range(tuple(table[int(outside[0])].tolist()), shape)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(table.unbind(1))] = True
    return mask


def _from_list(positions: list[Any], shape: torch.Size) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    indices = [_as_index(one, shape) for one in positions]
    for index in indices:
        mask[index] = True
    return mask


def _as_index(where: Any, shape: torch.Size) -> tuple[Any, ...]:
    """A checked numpy-style index for an int, a slice, `...` or a tuple of these."""
    if where is Ellipsis or isinstance(where, slice):
        return (where,)
    if not isinstance(where, tuple):
        number = _as_int(where)
        if number is None:
            raise SetupError(
                f"{_short(where)} names no position; give (i, j), a list of such tuples, slices, "
                "a bool mask or a SciPy sparse matrix"
            )
        if len(shape) != 1:
            raise SetupError(
                f"{number} alone is not clear in a tensor of shape {tuple(shape)}: write "
                f"({number}, j) for one weight, ({number}, slice(None)) for a row, "
                f"(slice(None), {number}) for a column"
            )
        where = (where,)
    return _checked_tuple(where, shape)


def _checked_tuple(where: tuple[Any, ...], shape: torch.Size) -> tuple[Any, ...]:
    dots = sum(part is Ellipsis for part in where)
    if dots > 1 or len(where) - dots > len(shape) or (not dots and len(where) != len(shape)):
        raise SetupError(
            f"the position {where} has {len(where)} parts, the tensor of shape {tuple(shape)} "
            f"has {len(shape)} dimensions (use slice(None) or ... for whole dimensions)"
        )
    index: list[Any] = []
    for place, part in enumerate(where):
        if part is Ellipsis or isinstance(part, slice):
            index.append(part)
            continue
        number = _as_int(part)
        if number is None:
            raise SetupError(f"{_short(part)} in the position {where} is neither int nor slice")
        past_dots = any(earlier is Ellipsis for earlier in where[:place])
        size = shape[place - len(where)] if past_dots else shape[place]
        if not -size <= number < size:
            _refuse_range(where, shape)
        index.append(number)
    return tuple(index)


def _as_int(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _refuse_range(position: tuple[Any, ...], shape: torch.Size) -> None:
    raise SetupError(f"the position {position} is outside the shape {tuple(shape)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bipartite(edges: Tensor, shape: Sequence[int] | None) -> Tensor:
    if shape is None:
        raise SetupError("layout='bipartite' needs shape=(out, in)")
    outputs, inputs = shape
    if tuple(edges.shape) != (inputs + outputs, inputs + outputs):
        raise SetupError(
            f"a bipartite matrix for shape ({outputs}, {inputs}) is square with "
            f"{inputs + outputs} rows (inputs first), got shape {tuple(edges.shape)}"
        )
    for kind, block in (("inputs", edges[:inputs, :inputs]), ("outputs", edges[inputs:, inputs:])):
        if bool(block.any()):
            i, j = block.nonzero()[0].tolist()
            raise SetupError(f"the bipartite matrix joins two {kind}: {i} and {j} among them")
    return edges[:inputs, inputs:].T | edges[inputs:, :inputs]
