"""A layer as least squares: every output row on its own, with the inputs' second moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


def _nobody(rows: int) -> None:
    """Nobody wants to know."""


@final
@dataclass(frozen=True, eq=False)
class RowProblem:
    """Rows w that share inputs; changing one by v costs v' H v, the mean squared output error.

    Attributes:
        first: Number of the first row in the whole weight.
        rows: [r, d] in float64, 0 where asleep and where the input is always 0.
        awake: Bool [r, d].
        hessian: H = mean x x' + damp (mean of its diagonal) I, [d, d] in float64. An input that
            is always 0 has 1 on the diagonal.
        told: Called with a number of rows when the work on them is done.
    """

    first: int
    rows: Tensor
    awake: Tensor
    hessian: Tensor
    told: Callable[[int], None] = _nobody

    @property
    def where(self) -> slice:
        """The rows' place in the whole weight."""
        return slice(self.first, self.first + len(self.rows))


def row_problems(
    owner: str, name: str, weight: Tensor, gram: Tensor, awake: Tensor | None, damp: float
) -> Iterator[RowProblem]:
    """One problem per group of rows.

    Args:
        owner: Who asks, for messages.
        name: The parameter.
        weight: [out, ...], at least 2-D.
        gram: [groups, d, d], with d the entries of one row.
        awake: Bool, of the weight's shape; None = all.
        damp: Share of the mean diagonal that is added to it.

    Raises:
        ValueError: The shapes do not fit, or the moments are not finite.
    """
    if weight.dim() < 2:
        raise ValueError(
            f"{owner}: {name!r} has shape {tuple(weight.shape)}; it needs 2 or more dimensions."
        )
    width = weight.shape[1:].numel()
    groups = len(gram) if gram.dim() == 3 else 0
    if not groups or gram.shape[1:] != (width, width) or len(weight) % groups:
        raise ValueError(
            f"{owner}: the activations of {name!r} have shape {tuple(gram.shape)}; for a weight of "
            f"shape {tuple(weight.shape)} they must be (groups, {width}, {width}), as InputGram() "
            "gathers them, with groups that divide its rows."
        )
    if not bool(gram.isfinite().all()):
        raise ValueError(f"{owner}: the activations of {name!r} are not finite.")
    rows = weight.reshape(len(weight), width).double()
    alive = torch.ones_like(rows, dtype=torch.bool)
    if awake is not None:
        alive = awake.to(rows.device).reshape(rows.shape)
    size = len(weight) // groups
    for group in range(groups if size else 0):
        span = slice(group * size, (group + 1) * size)
        hessian = gram[group].to(rows.device).double()
        dead = hessian.diagonal() <= 0
        live = hessian.diagonal()[~dead]
        extra = damp * live.mean() if live.numel() else hessian.new_zeros(())
        diagonal = torch.where(dead, torch.ones_like(hessian[0]), hessian.diagonal() + extra)
        hessian = hessian - hessian.diagonal().diag() + diagonal.diag()
        yield RowProblem(
            group * size,
            rows[span].masked_fill(~alive[span] | dead, 0.0),
            alive[span],
            hessian,
        )


def inverse(owner: str, name: str, matrices: Tensor) -> Tensor:
    """The inverses of positive definite matrices [..., d, d].

    Raises:
        ValueError: One is not positive definite.
    """
    factor, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        raise ValueError(
            f"{owner}: the inputs' second moments of {name!r} are not positive definite. Give "
            "more batches, or a larger damp."
        )
    return torch.cholesky_inverse(factor)


def only_where(matrix: Tensor, kept: Tensor) -> Tensor:
    """[r, d, d]: the matrix on the kept entries of each row [r, d], the identity elsewhere."""
    both = kept.unsqueeze(2) & kept.unsqueeze(1)
    eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.where(both, matrix, eye)


def refit(owner: str, name: str, problem: RowProblem, chosen: Tensor) -> Tensor:
    """V on the survivors S of each row with the least v' H v, if v = -w on the chosen Q.

    v_S = H_SS^-1 H_SQ w_Q; [r, d], 0 elsewhere.
    """
    gone = chosen & problem.awake
    kept = problem.awake & ~chosen
    pull = (problem.rows * gone) @ problem.hessian * kept
    update = torch.zeros_like(problem.rows)
    moved = gone.any(1).nonzero()[:, 0]
    problem.told(len(update) - len(moved))
    for some in moved.split(rows_at_once(problem.rows.shape[1])):
        system = only_where(problem.hessian, kept[some])
        factor, failed = torch.linalg.cholesky_ex(system)
        if bool(failed.any()):
            inverse(owner, name, system)  # says what is wrong
        update[some] = torch.cholesky_solve(pull[some].unsqueeze(2), factor).squeeze(2)
        problem.told(len(some))
    return update * kept


def rows_at_once(width: int, numbers: int = 1 << 23) -> int:
    """How many d x d matrices fit into the work space."""
    return max(1, numbers // max(1, width * width))
