"""What all scorers of the Optimal Brain Surgeon's family share: removal by an inverse Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saliency.compensating import CompensatingScorer
from saliency.curvature.inverse import Inverse, InverseRequest
from saliency.curvature.inverse_fisher import InverseFisher
from saliency.curvature.request import check_request
from saliency.curvature.rows import GaussNewtonColumns
from saliency.signals import Signals


def surgeon() -> InverseFisher:
    """The Gauss-Newton matrix, dense, as in Hassibi and Stork."""
    return InverseFisher(rows=GaussNewtonColumns())


@dataclass(frozen=True)
class InverseScorer(CompensatingScorer):
    """Scores by the inverse curvature over the awake weights.

    Removing the weights Q from a quadratic at its minimum costs 1/2 w_Q' (V_QQ)^-1 w_Q, if the
    survivors move by -V_Q (V_QQ)^-1 w_Q; V = H^-1. Sleepers are cut out of V first.

    Args:
        curvature: The inverse: `InverseFisher()`, `InverseHessian()`, both dense or in blocks,
            or `Woodbury()`.
    """

    curvature: InverseRequest = field(default_factory=surgeon)

    needs = frozenset({"weights", "curvature"})

    def __post_init__(self) -> None:
        check_request(type(self).__name__, "curvature", self.curvature, InverseRequest)

    def opened(self, signals: Signals) -> Inverse:
        """The inverse over what is awake now."""
        return self.curvature.open(signals.curvature, signals.weights, signals.awake)

    def loss(self, choice: Mapping[str, Tensor], signals: Signals) -> float:
        """Predicted loss increase 1/2 w_Q' (V_QQ)^-1 w_Q of removing all chosen together."""
        self._check(choice, signals)
        return self.opened(signals).remove(choice)[0]

    def compensate(self, choice: Mapping[str, Tensor], signals: Signals) -> dict[str, Tensor]:
        """Survivors' update -V_Q (V_QQ)^-1 w_Q for all chosen together; 0 for the others.

        This is the exact joint update. The sum of the updates of single removals, each of which
        supposes that the others stay, is another one and costs more.

        Raises:
            ValueError: A name or a shape of `choice` is not that of a weight.
        """
        self._check(choice, signals)
        update = self.opened(signals).remove(choice)[1]
        return {name: update[name].to(w.dtype) for name, w in signals.weights.items()}

    def _check(self, choice: Mapping[str, Tensor], signals: Signals) -> None:
        for name, mask in choice.items():
            if name not in signals.weights:
                raise ValueError(f"{self!r}: {name!r} was chosen, but is not among the weights.")
            if mask.dtype != torch.bool or mask.shape != signals.weights[name].shape:
                raise ValueError(
                    f"{self!r}: the choice for {name!r} is {mask.dtype} of shape "
                    f"{tuple(mask.shape)}; it must be bool of shape "
                    f"{tuple(signals.weights[name].shape)}."
                )
