"""Inverse of the damped Fisher or Gauss-Newton matrix, row by row or at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from saliency.curvature import rank_one
from saliency.curvature.flat import Layout
from saliency.curvature.functional import live
from saliency.curvature.inverse import BlockInverse, InverseRequest, block_parts
from saliency.curvature.request import check_request, finite, positive_int
from saliency.curvature.rows import Rows, SampleGradients
from saliency.curvature.storage import (
    DEFAULT_MEMORY,
    block_width,
    check_arguments,
    check_memory,
    in_blocks,
    inverted,
    positive_damping,
    stored_dense,
    width_dtype,
)
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class InverseFisher(InverseRequest):
    """(damping I + (1/P) sum x x')^-1 over the rows x; dense or in blocks.

    Gives by name: dense, the rows [numel, size] of one float64 matrix over all weights; in
    blocks, [ceil(numel / B), B, B] over runs of B entries of each weight, the last one padded.
    The data are read twice, once to count. Memory does not depend on their number.

    Args:
        block: Entries per block; None = dense, for models of some thousand weights.
        damping: Added to the diagonal; above 0, in units of the curvature.
        rows: What to sum up. `SampleGradients()` gives WoodFisher's and oBERT's matrix,
            `GaussNewtonColumns()` that of the Optimal Brain Surgeon.
        rank: Rows per update of the inverse; 1 is the recursion of Hassibi and Stork, more are
            its faster equal. None: the rows are summed up and the matrix is inverted once, which
            is the fastest for more rows than B, and loses fewer digits to small damping.
        memory: Bytes that the inverse may take.

    Raises:
        ValueError: An argument is out of range, the inverse would not fit (the message names the
            size that does), or it is not finite, or damping is lost in rounding.

    Source: Hassibi and Stork 1993; Singh and Alistarh 2020 (arXiv:2004.14340) for blocks.

    >>> import torch
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> InverseFisher(damping=2.0)(problem)["weight"].abs()  # Fisher: 2 I
    tensor([[0.2500, 0.0000],
            [0.0000, 0.2500]], dtype=torch.float64)
    """

    block: int | None = None
    damping: float = 1e-4
    rows: Rows = field(default_factory=SampleGradients)
    rank: int | None = None
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_arguments("InverseFisher", self.block, self.damping, self.memory)
        positive_damping("InverseFisher", self.damping)
        if self.rank is not None:
            positive_int("InverseFisher", "rank", self.rank)
        check_request("InverseFisher", "rows", self.rows, Rows)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The inverse by name."""
        params = live(problem)
        self.check(problem.model, params)
        layout = Layout.of(params)
        # One square over all parameters goes by the name "".
        whole = {"": layout.flat(params)} if self.block is None else params
        blocks = {name: self._empty(p) for name, p in whole.items()}
        with problem.calm():
            total, done = self.rows.count(problem), 0
            for rows, worth in self.rows.each(problem):
                parts = {"": rows} if self.block is None else _by_name(layout, rows)
                for name, part in parts.items():
                    self._add(blocks[name], part, total)
                done += worth
                problem.report("inverse Fisher", done, total)
        finite(repr(self), blocks)
        if self.rank is None:
            blocks = {name: self._inverted(name, matrix) for name, matrix in blocks.items()}
        return stored_dense(layout, blocks[""][0]) if self.block is None else blocks

    def check(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Whether the inverse fits in `memory`."""
        check_memory("InverseFisher", self.block, params, self.memory)

    def _empty(self, param: Tensor) -> Tensor:
        """The blocks before any row: those of I / damping, or of damping I to be inverted."""
        numel = param.numel()
        width = numel if self.block is None else block_width(numel, self.block)
        dtype = torch.float64 if self.block is None else width_dtype(param)
        like, count = param.new_empty(0, dtype=dtype), -(-numel // max(width, 1))
        damping = self.damping if self.rank is not None else 1 / self.damping
        return rank_one.start(count, width, damping, like)

    def _add(self, blocks: Tensor, rows: Tensor, total: int) -> None:
        for some in rows.split(len(rows) if self.rank is None else self.rank):
            cut = in_blocks(some.to(blocks.dtype), self.block or rows.shape[1])
            for few, mine in rank_one.in_runs(blocks, cut):
                if self.rank is None:
                    rank_one.add_to_matrix(few, mine, total)
                else:
                    rank_one.add_rows(few, mine, total)

    def _inverted(self, name: str, matrix: Tensor) -> Tensor:
        what = f"the damped matrix of {name!r}" if name else "the damped matrix"
        return inverted(repr(self), matrix, self.damping, what, "take larger batches of data")

    def open(
        self,
        curvature: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
    ) -> BlockInverse:
        """The blocks over the awake weights."""
        parts = block_parts(repr(self), self.block, curvature, weights)
        return BlockInverse(parts, weights, awake)


def _by_name(layout: Layout, rows: Tensor) -> dict[str, Tensor]:
    """Rows [r, numel] of each parameter."""
    return dict(zip(layout.names, rows.split(layout.sizes, dim=1), strict=True))
