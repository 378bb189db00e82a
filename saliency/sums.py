"""Two scorers as one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from saliency import arguments
from saliency.anchored import AnchorMagnitude
from saliency.gradient import Gradient
from saliency.magnitude import Magnitude
from saliency.momentum import Momentum
from saliency.scorer import (
    Scorer,
    check_scorer_argument,
    one_activation,
    one_anchor,
    one_curvature,
    widened,
)
from saliency.signals import Signals
from saliency.wrapper import Wrapper


@dataclass(frozen=True)
class Sum(Wrapper):
    """s = weights[0] a + weights[1] b.

    More than two: `Sum(Sum(a, b), c)`. Scorers of different scale are best normalised first.
    16-bit scores are added in float32.

    Args:
        a: The first scorer.
        b: The second scorer.
        weights: Two finite numbers; a negative one turns a scorer's order round.

    Raises:
        TypeError: `a` or `b` is no scorer, or a weight is not a number.
        ValueError: There are not two weights, one is not finite, or the two scorers need
            different kept points, curvatures or activations.

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([3.0, -1.0])}, grads={"w": torch.tensor([0.5, 4.0])}
    ... )
    >>> Sum(Magnitude(), Gradient(), weights=(1.0, 2.0)).score(signals)
    {'w': tensor([4., 9.])}
    """

    a: Scorer
    b: Scorer
    weights: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        check_scorer_argument("Sum", "a", self.a)
        check_scorer_argument("Sum", "b", self.b)
        if not isinstance(self.weights, (tuple, list)) or len(self.weights) != 2:
            raise ValueError(f"Sum(weights={self.weights!r}): weights must be two numbers.")
        for weight in self.weights:
            arguments.number("Sum", "weights", weight)
        object.__setattr__(self, "weights", tuple(self.weights))
        one_anchor(repr(self), self.inside)
        one_curvature(repr(self), self.inside)
        one_activation(repr(self), self.inside)

    @property
    def inside(self) -> tuple[Scorer, ...]:
        """Both scorers."""
        return (self.a, self.b)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The weighted sum of both scores."""
        first, second = self.a.score(signals), self.b.score(signals)
        x, y = self.weights
        return {
            name: widened(first[name]) * x + widened(second[name]) * y for name in signals.weights
        }

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Scorers with different needs, with an anchor, and with memory."""
        return (
            Sum(Magnitude(), Gradient(), weights=(1.0, -0.5)),
            Sum(AnchorMagnitude(), Momentum(decay=0.5)),
        )
