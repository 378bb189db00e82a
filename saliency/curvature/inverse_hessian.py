"""Inverse of the damped exact Hessian, dense or in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from saliency.curvature.flat import Layout
from saliency.curvature.functional import live
from saliency.curvature.inverse import BlockInverse, InverseRequest, block_parts
from saliency.curvature.products import basis, hessian_products
from saliency.curvature.request import finite, positive_int
from saliency.curvature.storage import (
    DEFAULT_MEMORY,
    block_width,
    check_arguments,
    check_memory,
    in_blocks,
    inverted,
    stored_dense,
    width_dtype,
)
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class InverseHessian(InverseRequest):
    """(H + damping I)^-1 with the exact Hessian; dense or in blocks.

    Takes one Hessian-vector product per weight and batch. Away from a minimum H has negative
    eigenvalues; a removal has no least loss then, so that is refused, and the message says how
    much damping makes it positive definite. Stored as by `InverseFisher`.

    Args:
        block: Entries per block; None = dense.
        damping: Added to the diagonal; 0 or more, in units of the curvature.
        chunk: Products at a time.
        memory: Bytes that the inverse may take.

    Raises:
        ValueError: An argument is out of range, the inverse would not fit (the message names the
            size that does), the Hessian is not finite or not positive definite.

    >>> import torch
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> InverseHessian(damping=1.0)(problem)["weight"].abs()  # the Hessian is I
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """

    block: int | None = None
    damping: float = 0.0
    chunk: int = 64
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_arguments("InverseHessian", self.block, self.damping, self.memory)
        positive_int("InverseHessian", "chunk", self.chunk)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The inverse by name."""
        params = live(problem)
        self.check(problem.model, params)
        layout = Layout.of(params)
        hessian = self._empty(layout, params)
        seen = 0.0  # share of the samples
        with problem.calm():
            for products, share in hessian_products(problem, params):
                for start in range(0, layout.size, self.chunk):
                    stop = min(start + self.chunk, layout.size)
                    like = layout.flat(params)
                    rows = products(basis(layout.size, start, stop, like)) * share
                    self._add(layout, hessian, rows, start)
                    done = round(seen * layout.size + share * stop)
                    problem.report("inverse Hessian", done, layout.size)
                seen += share
        finite(repr(self), hessian)
        inverse = {}
        for name, matrix in hessian.items():
            if name:
                # Padding has no curvature of its own.
                matrix[-1:].diagonal(dim1=-2, dim2=-1)[:, _used(matrix, params[name]) :] = 1
            inverse[name] = self._inverted(name, matrix)
        return inverse if self.block is not None else stored_dense(layout, inverse[""][0])

    def check(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Whether the inverse fits in `memory`."""
        check_memory("InverseHessian", self.block, params, self.memory)

    def _empty(self, layout: Layout, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first = next(iter(params.values()))
        if self.block is None:
            return {"": first.new_zeros(1, layout.size, layout.size, dtype=torch.float64)}
        out = {}
        for name, p in params.items():
            width = block_width(p.numel(), self.block)
            shape = (-(-p.numel() // width), width, width)
            out[name] = p.new_zeros(shape, dtype=width_dtype(p))
        return out

    def _add(self, layout: Layout, hessian: dict[str, Tensor], rows: Tensor, start: int) -> None:
        """Put the Hessian's rows from `start` on where they belong; only blocks are kept."""
        if self.block is None:
            hessian[""][0, start : start + len(rows)] += rows
            return
        for name, first, size in zip(layout.names, layout.starts, layout.sizes, strict=True):
            low, high = max(start, first), min(start + len(rows), first + size)
            if low >= high:
                continue
            own = in_blocks(rows[low - start : high - start, first : first + size], self.block)
            row = torch.arange(low - first, high - first, device=rows.device)
            width = own.shape[2]
            # Row r of the parameter lies in block r // width, as its row r % width.
            mine = own[row // width, torch.arange(len(row), device=rows.device)]
            hessian[name][row // width, row % width] += mine.to(hessian[name].dtype)

    def _inverted(self, name: str, hessian: Tensor) -> Tensor:
        hessian = (hessian + hessian.mT) / 2
        hessian.diagonal(dim1=-2, dim2=-1).add_(self.damping)
        where = f"the Hessian of {name!r}" if name else "the Hessian"
        remedy = "train to a minimum, or use InverseFisher(rows=GaussNewtonColumns())"
        return inverted(repr(self), hessian, self.damping, where, remedy)

    def open(
        self,
        curvature: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
    ) -> BlockInverse:
        """The blocks over the awake weights."""
        parts = block_parts(repr(self), self.block, curvature, weights)
        return BlockInverse(parts, weights, awake)


def _used(matrix: Tensor, param: Tensor) -> int:
    """Entries of the last block that are weights."""
    return param.numel() - (len(matrix) - 1) * matrix.shape[1]
