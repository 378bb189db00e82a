"""Scores averaged over time, for scorers that jump from batch to batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency import arguments
from saliency.gradient_change import GradientChange
from saliency.magnitude import Magnitude
from saliency.running import Running, check_keys, lerp_in
from saliency.scorer import Scorer, check_scorer_argument, widened
from saliency.signals import Signals
from saliency.taylor import Taylor
from saliency.wrapper import Wrapper, load_all

# Signals that a single step may lack for some parameters, such as those it did not use.
_PER_STEP = frozenset({"grads", "moments"})


@final
class Smoothed(Wrapper):
    """e <- decay e + (1 - decay) s on each observed step, and e = s on the first.

    Asking for scores changes nothing; only observed steps enter the average. An entry enters
    with the score that it has, asleep or awake. A parameter that no step has observed yet is
    scored by the step at hand.

    Keeps one tensor per parameter, float32 for 16-bit scores.

    Args:
        scorer: Whose scores.
        decay: 0 <= decay < 1; 0 keeps the last scores alone.

    Raises:
        TypeError: `scorer` is no scorer, or `decay` is not a number.
        ValueError: `decay` is out of range.

    >>> import torch
    >>> smoothed = Smoothed(Magnitude(), decay=0.75)
    >>> smoothed.observe(Signals(weights={"w": torch.tensor([1.0, 2.0])}))
    >>> smoothed.observe(Signals(weights={"w": torch.tensor([-5.0, 2.0])}, step=1))
    >>> smoothed.score(Signals(weights={"w": torch.tensor([0.0, 0.0])}))
    {'w': tensor([2., 2.])}
    """

    accumulates = True

    def __init__(self, scorer: Scorer, decay: float = 0.9) -> None:
        check_scorer_argument("Smoothed", "scorer", scorer)
        arguments.decay("Smoothed", decay)
        self.scorer = scorer
        self.decay = decay
        self._mean = Running(repr(self))

    @property
    def inside(self) -> tuple[Scorer, ...]:
        """The scorer."""
        return (self.scorer,)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The average so far."""
        new = [name for name in signals.weights if name not in self._mean]
        fresh = self.scorer.score(signals.only(new)) if new else {}
        scores = {}
        for name, w in signals.weights.items():
            mean = self._mean.get(name, like=w)
            scores[name] = widened(fresh[name]) if mean is None else mean.clone()
        return scores

    def observe(self, signals: Signals) -> None:
        """Average in the scores of this step, then let the scorer observe it."""
        per_step = [signals.read(need) for need in sorted(self.needs & _PER_STEP)]
        seen = signals.only({n for n in signals.weights if all(n in held for held in per_step)})
        for name, score in self.scorer.score(seen).items():
            whole = widened(score).expand(signals.weights[name].shape)
            lerp_in(self._mean, name, whole, self.decay)
        if self.scorer.accumulates:
            self.scorer.observe(signals)

    def reset(self) -> None:
        """Forget all observed steps, here and in the scorer."""
        self._mean.reset()
        self.scorer.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the averages, and the state of the scorer."""
        return {"mean": self._mean.state_dict(), "inside": [self.scorer.state_dict()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved averages and the scorer's state; if one does not fit, neither is."""
        check_keys(repr(self), state, {"mean", "inside"})
        mean = Running(repr(self))
        mean.load_state_dict(state["mean"])
        load_all(repr(self), self.inside, state["inside"])
        self._mean = mean

    def __repr__(self) -> str:
        return f"Smoothed({self.scorer!r}, decay={self.decay!r})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Around scorers without and with needs and memory of their own."""
        return (Smoothed(Magnitude()), Smoothed(Taylor(), 0.5), Smoothed(GradientChange(), 0.5))
