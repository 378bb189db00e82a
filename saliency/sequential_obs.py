"""Optimal Brain Surgeon one weight at a time, the inverse and the survivors kept up to date."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from saliency.curvature.blocks import at_once
from saliency.curvature.inverse_fisher import InverseFisher
from saliency.curvature.inverse_hessian import InverseHessian
from saliency.curvature.request import positive_int
from saliency.curvature.tableau import elimination
from saliency.inverse_scorer import InverseScorer, surgeon
from saliency.scorer import Scorer
from saliency.signals import Signals


@dataclass(frozen=True)
class SequentialOBS(InverseScorer):
    """s = loss increase of a weight's own removal, in the order of greedy exact removal.

    The lowest w_q^2 / (2 [H^-1]_qq) goes, the survivors take their update, the inverse its
    downdate, and so on; a score is never below that of an earlier removal in its block, so that
    the k lowest are the first k to go. Blocks do not interact. `compensate` of those k equals the
    sum of the updates on the way. Takes O(B^2) per removal for a block of B weights.

    Args:
        curvature: `InverseFisher()` or `InverseHessian()`, dense or in blocks.
        steps: Removals per block at most; the rest score what they would cost next. None = all.

    Raises:
        TypeError: `curvature` is neither.
        ValueError: `steps` is below 1.

    Source: Hassibi and Stork 1993; Frantar and Alistarh 2022 (arXiv:2208.11580) for the order
    across blocks.

    >>> import torch
    >>> h = torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([1.0, 1.0])}, curvature={"w": torch.linalg.inv(h)}
    ... )
    >>> SequentialOBS().score(signals)  # w_2 grows to 1.25: 4 * 1.25^2 / 2
    {'w': tensor([0.8750, 3.1250])}
    """

    curvature: InverseFisher | InverseHessian = field(default_factory=surgeon)
    steps: int | None = None

    def __post_init__(self) -> None:
        check_blocks("SequentialOBS", self.curvature)
        if self.steps is not None:
            positive_int("SequentialOBS", "steps", self.steps)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """Cost of each removal when its turn comes; 0 where asleep."""
        found: dict[str, Tensor] = {}
        view = self.curvature.open(signals.curvature, signals.weights, signals.awake)
        for part, values, asleep in zip(view.parts, view.values, view.asleep, strict=True):
            # A run of blocks at a time stays in cache.
            run = at_once(part.inverse)
            out = values.new_empty(values.shape)
            for start in range(0, len(values), run):
                here = slice(start, start + run)
                steps = values.shape[1] if self.steps is None else self.steps
                out[here] = elimination(part.inverse[here], values[here], asleep[here], steps)
            found.update(part.join(out))
        return {name: found[name] for name in signals.weights}

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Dense, in blocks, and cut short."""
        return (
            SequentialOBS(),
            SequentialOBS(InverseFisher(block=4)),
            SequentialOBS(InverseHessian(damping=10.0), steps=3),
        )


def check_blocks(owner: str, curvature: object) -> None:
    """Raise TypeError unless the request keeps the inverse itself."""
    if not isinstance(curvature, (InverseFisher, InverseHessian)):
        raise TypeError(
            f"{owner}(curvature={curvature!r}): curvature must be InverseFisher() or "
            "InverseHessian(), which keep the inverse itself."
        )
