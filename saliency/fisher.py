"""Fisher: Optimal Brain Damage with squared gradients for a Hessian."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from saliency.curvature.diagonals import FisherDiagonal
from saliency.curvature.request import check_request
from saliency.curvature.rows import BatchGradients
from saliency.obd import Negative, treated
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@dataclass(frozen=True)
class Fisher(Scorer):
    """s = w_k^2 (1/P) sum_n g_nk^2 / 2, with the gradient g_n of sample n.

    The cheapest second-order score: one backward pass per sample. `OBD(FisherDiagonal())` by its
    own name.

    Args:
        curvature: `FisherDiagonal()`, of samples or of batches.

    Raises:
        TypeError: `curvature` is something else.

    Source: Theis et al. 2018 (arXiv:1801.05787).

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([3.0, 4.0])}
    ... )
    >>> Fisher().score(signals)
    {'w': tensor([6., 2.])}
    """

    curvature: FisherDiagonal = field(default_factory=FisherDiagonal)

    needs = frozenset({"weights", "curvature"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        check_request("Fisher", "curvature", self.curvature, FisherDiagonal)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """w^2 f / 2 of each weight; 0 where asleep."""
        diagonal = treated(self, Negative.REFUSE, signals)
        return {n: diagonal[n] * widened(w).square() / 2 for n, w in signals.weights.items()}

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Of samples and of batches."""
        return (Fisher(), Fisher(FisherDiagonal(BatchGradients())))
