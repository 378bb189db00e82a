"""GraSP: which weights carry the gradient's norm?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.curvature.functional import live, loss_of
from saliency.curvature.products import hessian_vector_product
from saliency.curvature.request import CurvatureRequest, finite
from saliency.problem import Problem, batch_size
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
@dataclass(frozen=True)
class HessianGradient(CurvatureRequest):
    """H g, with g the gradient of the problem's loss and H its Hessian, over the same batches.

    Two backward passes per batch for g and H g. The model is asked in the mode that it is in.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))  # loss (w1 + 2 w2)^2
    >>> HessianGradient()(Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss()))
    {'weight': tensor([[ 60., 120.]])}
    """

    live_mode = True

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """One tensor per parameter, of its shape."""
        product = hessian_vector_product(problem, gradient(problem))
        return finite("HessianGradient()", product)


def gradient(problem: Problem) -> dict[str, Tensor]:
    """The gradient of the problem's loss, the mean over all samples of all batches."""
    params = {name: tensor.requires_grad_() for name, tensor in live(problem).items()}
    total = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    samples = problem.samples()
    with problem.calm(), torch.enable_grad():
        for batch in problem.each():
            loss = loss_of(problem, params, batch)
            found = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
            for sum_, part in zip(total.values(), found, strict=True):
                if part is not None:
                    sum_.add_(part.detach(), alpha=batch_size(batch) / samples)
    return total


@final
@dataclass(frozen=True)
class GraSP(Scorer):
    """s = w (H g): the paper's S(-w) = -w (H g) with the other sign.

    To first order, a weight's sleep changes the squared gradient norm by 2 S. The paper removes
    the weights with the highest S, so here, where the highest scores stay awake, it is s = -S.
    Negative scores are common and sleep first: without those weights the gradient grows.

    Sleeping weights are 0 and score 0. The paper scales the logits by 1 / 200 before the loss; do
    so in the loss function if you want to.

    Source: Wang, Zhang and Grosse 2020 (arXiv:2002.07376).

    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([0.5, 3.0])}
    ... )
    >>> GraSP().score(signals)
    {'w': tensor([ 1., -3.])}
    """

    needs = frozenset({"weights", "curvature"})
    curvature = HessianGradient()
    elementwise = equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """W times the Hessian-gradient product."""
        return {
            name: widened(w) * widened(signals.curvature[name]).to(w.device)
            for name, w in signals.weights.items()
        }
