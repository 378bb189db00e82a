"""Second-order Taylor: the loss change of a removal with its gradient term, off a minimum too."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from saliency import arguments
from saliency.curvature.diagonals import GaussNewtonDiagonal
from saliency.curvature.hessian_diagonal import HessianDiagonal
from saliency.curvature.request import DiagonalRequest, check_request
from saliency.obd import Negative, check_negative, treated
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@dataclass(frozen=True)
class SecondOrderTaylor(Scorer):
    """s = -g w + h w^2 / 2, signed: below 0 where the loss is expected to fall.

    Exact for one weight of a quadratic, wherever it stands. A weight that scores below 0 goes
    before the sleepers' 0.

    Args:
        curvature: Where h comes from, as for `OBD`.
        negative: What a negative h counts as.
        absolute: True for |s|, which keeps weights whose removal changes the loss either way.

    Raises:
        TypeError: `curvature` is no request for a diagonal, `negative` no `Negative`, or
            `absolute` no bool.

    Source: Molchanov et al. 2019 (arXiv:1906.10771), eq. 6.

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])},
    ...     grads={"w": torch.tensor([4.0, 0.5])},
    ...     curvature={"w": torch.tensor([3.0, 4.0])},
    ... )
    >>> SecondOrderTaylor().score(signals)
    {'w': tensor([-2.0000,  2.5000])}
    """

    curvature: DiagonalRequest = field(default_factory=HessianDiagonal)
    negative: Negative = Negative.KEEP
    absolute: bool = False

    needs = frozenset({"weights", "grads", "curvature"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        check_request("SecondOrderTaylor", "curvature", self.curvature, DiagonalRequest)
        check_negative("SecondOrderTaylor", self.negative)
        arguments.flag("SecondOrderTaylor", "absolute", self.absolute)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """-g w + h w^2 / 2 of each weight; 0 where asleep."""
        diagonal = treated(self, self.negative, signals)
        found = {}
        for name, w in signals.weights.items():
            wide, g = widened(w), widened(signals.grads[name]).to(w.device)
            change = wide * (diagonal[name] * wide / 2 - g)
            found[name] = change.abs() if self.absolute else change
        return found

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Signed and absolute."""
        return (
            SecondOrderTaylor(),
            SecondOrderTaylor(GaussNewtonDiagonal(), Negative.CLAMP, absolute=True),
        )
