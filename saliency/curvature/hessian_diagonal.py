"""The exact diagonal of the Hessian, by as many products as there are weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.curvature.flat import Layout
from saliency.curvature.functional import live
from saliency.curvature.products import basis, hessian_products
from saliency.curvature.request import DiagonalRequest, finite, positive_int
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem


@final
@dataclass(frozen=True)
class HessianDiagonal(DiagonalRequest):
    """h_kk = d^2 L / d w_k^2, exact for everything that can be differentiated twice.

    Takes one product per weight and batch, `chunk` at a time: minutes for 1e5 weights. A network
    of piecewise-linear layers has the same diagonal by `GaussNewtonDiagonal()`, far cheaper.
    Entries are negative where the loss curves downwards, which it may away from a minimum.

    A tied parameter is one variable: its entry is the second derivative along all its uses at
    once. BatchNorm in eval mode has fixed statistics; in train mode the dependence of the batch
    statistics on the weights is part of the derivative.

    Args:
        chunk: Products at a time. Memory grows by chunk x (weights + activations).

    Raises:
        ValueError: `chunk` is below 1, or an entry is not finite.

    Source: LeCun, Denker and Solla 1990, "Optimal Brain Damage", where it is approximated.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> problem = Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss())
    >>> HessianDiagonal()(problem)
    {'weight': tensor([[2., 8.]])}
    """

    chunk: int = 64

    def __post_init__(self) -> None:
        positive_int("HessianDiagonal", "chunk", self.chunk)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The diagonal; tensors of the weights' shapes."""
        params = live(problem)
        layout = Layout.of(params)
        like = layout.flat(params)
        total = torch.zeros_like(like, dtype=width_dtype(like))
        seen = 0.0  # share of the samples
        with problem.calm():
            for products, share in hessian_products(problem, params):
                for start in range(0, layout.size, self.chunk):
                    stop = min(start + self.chunk, layout.size)
                    rows = products(basis(layout.size, start, stop, like))
                    total[start:stop] += rows[:, start:stop].diagonal() * share
                    done = round(seen * layout.size + share * stop)
                    problem.report("diagonal of the Hessian", done, layout.size)
                seen += share
        return finite(repr(self), layout.named(total))
