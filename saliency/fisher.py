"""Fisher: Optimal Brain Damage with squared gradients for a Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency import arguments
from saliency.curvature.diagonals import FisherDiagonal
from saliency.curvature.request import check_request
from saliency.curvature.rows import BatchGradients
from saliency.obd import Negative, treated
from saliency.scorer import Scorer, widened
from saliency.signals import Signals
from saliency.step_means import StepMeans


@final
class Fisher(Scorer):
    """s = w_k^2 (1/P) sum_n g_nk^2 / 2, with the gradient g_n of sample n.

    The cheapest second-order score: one backward pass per sample. `OBD(FisherDiagonal())` by its
    own name.

    With `accumulate=True` the squares are averaged over the observed steps. The training loop
    has the gradient of each batch alone, not those of its samples: squares of the former, which
    cost nothing, are `Fisher(FisherDiagonal(BatchGradients()), accumulate=True)`. They are smaller
    than squares of samples, by about the batch size where gradients are noise, and are those that
    backward leaves, before clipping and before a gradient scaler takes its factor out. Squares
    of samples take batches of the scorer's own, at every observed step.

    Args:
        curvature: `FisherDiagonal()`, of samples or of batches.
        accumulate: Average over the observed steps, instead of measuring when the rule fires.

    Raises:
        TypeError: `curvature` is something else, or `accumulate` is not a bool.

    Source: Theis et al. 2018 (arXiv:1801.05787).

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([3.0, 4.0])}
    ... )
    >>> Fisher().score(signals)
    {'w': tensor([6., 2.])}
    >>> fisher = Fisher(FisherDiagonal(BatchGradients()), accumulate=True)
    >>> w = {"w": torch.tensor([2.0])}
    >>> fisher.observe(Signals(weights=w, grads={"w": torch.tensor([1.0])}))
    >>> fisher.observe(Signals(weights=w, grads={"w": torch.tensor([3.0])}))
    >>> fisher.score(Signals(weights=w))  # 2^2 (1 + 9) / 2 / 2
    {'w': tensor([10.])}
    """

    elementwise = equivariant = True

    def __init__(self, curvature: FisherDiagonal | None = None, accumulate: bool = False) -> None:
        given = FisherDiagonal() if curvature is None else curvature
        check_request("Fisher", "curvature", given, FisherDiagonal)
        arguments.flag("Fisher", "accumulate", accumulate)
        self.curvature: FisherDiagonal = given
        self.accumulate = accumulate
        self._means = StepMeans(repr(self))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Curvature; of the batches of observed steps, their gradients."""
        return frozenset({"weights", "grads" if self._squares else "curvature"})

    @property
    def accumulates(self) -> bool:  # type: ignore[override]
        """Whether steps are observed."""
        return self.accumulate

    @property
    def _squares(self) -> bool:
        return self.accumulate and isinstance(self.curvature.rows, BatchGradients)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """w^2 f / 2 of each weight; 0 where asleep."""
        need, seen = self._seen(signals)
        found = {name: self._means.read(need, name, seen) for name in signals.weights}
        mean = Signals(weights=signals.weights, curvature=found)
        diagonal = treated(self, Negative.REFUSE, mean)
        return {n: diagonal[n] * widened(w).square() / 2 for n, w in signals.weights.items()}

    def observe(self, signals: Signals) -> None:
        """Average in the squares of this step."""
        need, seen = self._seen(signals)
        held = seen.read(need)
        self._means.observe({name: held[name] for name in signals.weights if name in held})

    def _seen(self, signals: Signals) -> tuple[str, Signals]:
        """The need that is averaged, and the signals with its squares."""
        if not self._squares:
            return "curvature", signals
        return "grads", signals.rebuilt(
            lambda need, _, t: widened(t).square() if need == "grads" else t
        )

    def reset(self) -> None:
        """Forget all observed steps."""
        self._means.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the means; empty unless steps are observed."""
        return self._means.state_dict() if self.accumulate else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved means."""
        if self.accumulate:
            self._means.load_state_dict(state)
        else:
            super().load_state_dict(state)

    def __repr__(self) -> str:
        return f"Fisher({self.curvature!r}{', accumulate=True' if self.accumulate else ''})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Of samples and of batches, when asked and over steps."""
        batches = FisherDiagonal(BatchGradients())
        return (
            Fisher(),
            Fisher(batches),
            Fisher(accumulate=True),
            Fisher(batches, accumulate=True),
        )
