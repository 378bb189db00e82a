"""Optimal Brain Surgeon: what the loss rises by when a weight goes and the others make up."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from saliency.curvature.inverse_fisher import InverseFisher
from saliency.curvature.inverse_hessian import InverseHessian
from saliency.curvature.rows import GaussNewtonColumns
from saliency.curvature.woodbury import Woodbury
from saliency.inverse_scorer import InverseScorer
from saliency.scorer import Scorer
from saliency.signals import Signals


@dataclass(frozen=True)
class OBS(InverseScorer):
    """s_q = w_q^2 / (2 [H^-1]_qq), for each weight as if it went alone.

    `compensate` is exact for one weight and for many. To choose many, `SequentialOBS` looks at
    each after the removals before it.

    Args:
        curvature: The inverse. `InverseFisher(rows=GaussNewtonColumns())`, dense, is the
            original; `InverseFisher(block=50)` is WoodFisher's and oBERT's, for large models;
            `Woodbury()` is M-FAC's, without a matrix over the weights.

    Raises:
        TypeError: `curvature` is no request for an inverse.
        ValueError: On scoring, the curvature is not of these weights, or its diagonal is not
            positive.

    Source: Hassibi and Stork 1993; Singh and Alistarh 2020 (arXiv:2004.14340).

    >>> import torch
    >>> h = torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([1.0, 1.0])}, curvature={"w": torch.linalg.inv(h)}
    ... )
    >>> OBS().score(signals)
    {'w': tensor([0.8750, 1.7500])}
    >>> OBS().compensate({"w": torch.tensor([True, False])}, signals)
    {'w': tensor([0.0000, 0.2500])}
    """

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """w^2 / (2 V_qq) of each weight; 0 where asleep."""
        diagonal = self.opened(signals).diagonal()
        found = {}
        for name, w in signals.weights.items():
            bad = int((diagonal[name] <= 0).sum())
            if bad:
                raise ValueError(
                    f"{self!r}: {bad} of {w.numel()} diagonal entries of the inverse for "
                    f"{name!r} are not positive; raise damping."
                )
            found[name] = w.to(diagonal[name].dtype).square() / (2 * diagonal[name])
        return found

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Dense, in blocks, and by Woodbury's identity."""
        return (
            OBS(),
            OBS(InverseFisher(block=4, rank=2)),
            OBS(InverseHessian(damping=10.0)),
            OBS(InverseHessian(block=5, damping=10.0)),
            OBS(Woodbury(damping=0.01)),
            OBS(Woodbury(rows=GaussNewtonColumns(), count=12)),
        )
