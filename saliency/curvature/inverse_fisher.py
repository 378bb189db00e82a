"""Inverse of the damped Fisher or Gauss-Newton matrix by rank-one updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from torch import Tensor

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
    positive_damping,
    stored_dense,
    width_dtype,
)
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class InverseFisher(InverseRequest):
    """(damping I + (1/P) sum x x')^-1, by recursion over the rows x; dense or in blocks.

    Gives by name: dense, the rows [numel, size] of one float64 matrix over all weights; in
    blocks, [ceil(numel / B), B, B] over runs of B entries of each weight, the last one padded.
    The data are read twice, once to count. Memory does not depend on their number.

    Args:
        block: Entries per block; None = dense, for models of some thousand weights.
        damping: Added to the diagonal; above 0, in units of the curvature.
        rows: What to sum up. `SampleGradients()` gives WoodFisher's and oBERT's matrix,
            `GaussNewtonColumns()` that of the Optimal Brain Surgeon.
        rank: Rows per update; the inverse is the same for each, up to rounding.
        memory: Bytes that the inverse may take.

    Raises:
        ValueError: An argument is out of range, the inverse would not fit (the message names the
            size that does), or it is not finite.

    Source: Hassibi and Stork 1993; Singh and Alistarh 2020 (arXiv:2004.14340) for blocks.

    >>> import torch
    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> InverseFisher(damping=2.0)(problem)["weight"]  # Fisher: 2 I
    tensor([[0.2500, 0.0000],
            [0.0000, 0.2500]], dtype=torch.float64)
    """

    block: int | None = None
    damping: float = 1e-4
    rows: Rows = field(default_factory=SampleGradients)
    rank: int = 32
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        check_arguments("InverseFisher", self.block, self.damping, self.memory)
        positive_damping("InverseFisher", self.damping)
        positive_int("InverseFisher", "rank", self.rank)
        check_request("InverseFisher", "rows", self.rows, Rows)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The inverse by name."""
        params = live(problem)
        check_memory("InverseFisher", self.block, params, self.memory)
        with problem.calm():
            dense = self.block is None
            found = self._dense(problem, params) if dense else self._blocks(problem, params)
        return finite(repr(self), found)

    def _dense(self, problem: Problem, params: dict[str, Tensor]) -> dict[str, Tensor]:
        layout = Layout.of(params)
        like = layout.flat(params)[:0].double()
        inverse = rank_one.start(1, layout.size, self.damping, like)
        total, done = self.rows.count(problem), 0
        for rows, worth in self.rows.each(problem):
            for some in rows.to(like).split(self.rank):
                rank_one.add_rows(inverse, some[None], total)
            done += worth
            problem.report("inverse Fisher", done, total)
        return stored_dense(layout, inverse[0])

    def _blocks(self, problem: Problem, params: dict[str, Tensor]) -> dict[str, Tensor]:
        block = self.block or 1
        layout = Layout.of(params)
        inverse: dict[str, Tensor] = {}
        for name, p in params.items():
            width = block_width(p.numel(), block)
            like = p.new_empty(0, dtype=width_dtype(p))
            inverse[name] = rank_one.start(-(-p.numel() // width), width, self.damping, like)
        total, done = self.rows.count(problem), 0
        for rows, worth in self.rows.each(problem):
            for some in rows.split(self.rank):
                for name, part in zip(layout.names, some.split(layout.sizes, dim=1), strict=True):
                    cut = in_blocks(part.to(inverse[name].dtype), block)
                    _add_in_runs(inverse[name], cut, total)
            done += worth
            problem.report("inverse Fisher", done, total)
        return inverse

    def open(
        self,
        curvature: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
    ) -> BlockInverse:
        """The blocks over the awake weights."""
        parts = block_parts(repr(self), self.block, curvature, weights)
        return BlockInverse(parts, weights, awake)


def _add_in_runs(inverse: Tensor, rows: Tensor, total: int) -> None:
    """A run of blocks at a time, small enough to stay in cache."""
    run = max(1, (1 << 19) // max(1, inverse.shape[1:].numel()))
    for blocks, some in zip(inverse.split(run), rows.split(run), strict=True):
        rank_one.add_rows(blocks, some, total)
