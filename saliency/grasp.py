"""GraSP: which weights carry the gradient's norm?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from saliency import arguments
from saliency.curvature.functional import live
from saliency.curvature.one_by_one import batch_gradient
from saliency.curvature.products import hessian_vector_product
from saliency.curvature.request import CurvatureRequest, check_request, finite
from saliency.problem import Problem, batch_size
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
@dataclass(frozen=True)
class HessianGradient(CurvatureRequest):
    """H g, with g the gradient of the problem's loss and H its Hessian, over the same batches.

    Two backward passes per batch for g and H g. The model is asked in the mode that it is in.

    Args:
        temperature: What the outputs are divided by before the loss. Other values than 1 need
            a loss of (output, target), and outputs that are one tensor.

    Raises:
        TypeError: `temperature` is not a number.
        ValueError: `temperature` is not above 0; when asked, there is no loss of (output, target).

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.ones_(layer.weight)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))  # loss (w1 + 2 w2)^2
    >>> HessianGradient()(Problem(layer, {"weight": layer.weight}, [batch], torch.nn.MSELoss()))
    {'weight': tensor([[ 60., 120.]])}
    """

    temperature: float = 1.0

    live_mode = True

    def __post_init__(self) -> None:
        arguments.number("HessianGradient", "temperature", self.temperature)
        if not self.temperature > 0:
            raise ValueError(
                f"HessianGradient(temperature={self.temperature!r}): temperature must be above 0."
            )

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """One tensor per parameter, of its shape."""
        if self.temperature != 1:
            if problem.loss is None:
                raise ValueError(
                    f"{self!r} divides outputs, which takes a loss of (output, target); with a "
                    "loss of (model, batch) use GraSP(HessianGradient()) and divide there."
                )
            problem = replace(problem, loss=_cooled(problem.loss, self.temperature))
        product = hessian_vector_product(problem, gradient(problem))
        return finite("HessianGradient()", product)


def _cooled(loss: Callable[[Any, Any], Tensor], temperature: float) -> Callable[[Any, Any], Tensor]:
    return lambda output, target: loss(output / temperature, target)


def gradient(problem: Problem) -> dict[str, Tensor]:
    """The gradient of the problem's loss, the mean over all samples of all batches."""
    params = live(problem)
    total = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    samples = problem.samples()
    with problem.calm():
        for batch in problem.each():
            for name, part in batch_gradient(problem, params, batch).items():
                total[name].add_(part, alpha=batch_size(batch) / samples)
    return total


@final
@dataclass(frozen=True)
class GraSP(Scorer):
    """s = w (H g): the paper's S(-w) = -w (H g) with the other sign.

    To first order, a weight's sleep changes the squared gradient norm by 2 S. The paper removes
    the weights with the highest S, so here, where the highest scores stay awake, it is s = -S.
    Negative scores are common and sleep first: without those weights the gradient grows.

    Sleeping weights are 0 and score 0. As in the paper's experiments, the logits are divided by
    200 before the loss; without that the method fails where few weights stay.

    Args:
        curvature: `HessianGradient(temperature)`.

    Raises:
        TypeError: `curvature` is something else.

    Source: Wang, Zhang and Grosse 2020 (arXiv:2002.07376).

    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([0.5, 3.0])}
    ... )
    >>> GraSP().score(signals)
    {'w': tensor([ 1., -3.])}
    """

    curvature: HessianGradient = field(default_factory=lambda: HessianGradient(200.0))

    needs = frozenset({"weights", "curvature"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        check_request("GraSP", "curvature", self.curvature, HessianGradient)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """W times the Hessian-gradient product."""
        return {
            name: widened(w) * widened(signals.curvature[name]).to(w.device)
            for name, w in signals.weights.items()
        }

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """With the paper's temperature and without."""
        return (GraSP(), GraSP(HessianGradient()))
