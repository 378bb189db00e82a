"""Diagonals of curvatures that are sums of outer products: Gauss-Newton and Fisher."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from saliency.curvature.flat import Layout
from saliency.curvature.functional import live
from saliency.curvature.layer_columns import (
    Root,
    gauss_newton,
    gauss_newton_apart,
    loss_gradient,
)
from saliency.curvature.layer_squares import plain_diagonals
from saliency.curvature.request import DiagonalRequest, check_request, finite
from saliency.curvature.rows import BatchGradients, GaussNewtonColumns, Rows, SampleGradients
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class GaussNewtonDiagonal(DiagonalRequest):
    """g_kk = (1/P) sum over samples and outputs of (J' s)_k^2; never negative.

    Equals the Hessian's diagonal if the outputs are piecewise linear in each weight: layers such
    as Linear, Conv, ReLU and max pooling, and no weight that is used twice on one path. For C
    outputs, takes C backward passes over the data: of whole batches for Linear layers on vectors;
    for all other parameters of as many samples at a time as `rows` says, each with gradients of
    its own.

    Args:
        rows: How many samples at a time, for the others.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> half = lambda output, target: (output - target).square().mean() / 2
    >>> GaussNewtonDiagonal()(Problem(layer, {"weight": layer.weight}, [batch], half))
    {'weight': tensor([[1., 4.]])}
    """

    rows: GaussNewtonColumns = field(default_factory=GaussNewtonColumns)

    def __post_init__(self) -> None:
        check_request("GaussNewtonDiagonal", "rows", self.rows, GaussNewtonColumns)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The diagonal; tensors of the weights' shapes."""
        roots = (gauss_newton, gauss_newton_apart)
        return finite(repr(self), _diagonal("Gauss-Newton diagonal", self.rows, problem, roots))


@final
@dataclass(frozen=True)
class FisherDiagonal(DiagonalRequest):
    """f_kk = (1/P) sum over samples of g_k^2, the empirical Fisher's diagonal; never negative.

    The square of a mean gradient is not the mean of squares: `BatchGradients()` gives a smaller
    diagonal than `SampleGradients()`. Linear layers on vectors take one backward pass per batch,
    all other parameters a gradient per sample.

    Args:
        rows: `SampleGradients()` or `BatchGradients()`.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.eye(2), torch.zeros(2, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> FisherDiagonal()(problem)
    {'weight': tensor([[2., 2.]])}
    >>> FisherDiagonal(BatchGradients())(problem)
    {'weight': tensor([[1., 1.]])}
    """

    rows: SampleGradients | BatchGradients = field(default_factory=SampleGradients)

    def __post_init__(self) -> None:
        check_request("FisherDiagonal", "rows", self.rows, Rows)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The diagonal; tensors of the weights' shapes."""
        samples = isinstance(self.rows, SampleGradients)
        roots = (loss_gradient, loss_gradient) if samples else None
        return finite(repr(self), _diagonal("Fisher diagonal", self.rows, problem, roots))


def _diagonal(
    what: str, rows: Rows, problem: Problem, roots: tuple[Root, Root] | None
) -> dict[str, Tensor]:
    """Of plain linear layers the short way, if there is one; of all others by the rows."""
    found: dict[str, Tensor] = {}
    if roots is not None:
        with problem.calm():
            found = plain_diagonals(problem, what, roots)
    rest = {name: p for name, p in problem.params.items() if name not in found}
    if rest:
        found.update(sum_of_squares(what, rows, replace(problem, params=rest)))
    return {name: found[name] for name in problem.params}


def sum_of_squares(what: str, rows: Rows, problem: Problem) -> dict[str, Tensor]:
    """(1/P) sum of squared rows, streamed: one vector is kept, float32 for 16-bit weights."""
    params = live(problem)
    layout = Layout.of(params)
    like = layout.flat(params)
    total = torch.zeros_like(like, dtype=width_dtype(like))
    done = 0
    with problem.calm():
        for vectors, worth in rows.each(problem):
            total += vectors.to(total.dtype).square_().sum(0)
            done += worth
            problem.report(what, done)
    return layout.named(total.div_(done))
