"""Soft movement: scores are trained like weights, and a threshold decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from saliency import arguments
from saliency.movement import check_revive, push, push_needs
from saliency.running import Running, check_keys
from saliency.scorer import Scorer
from saliency.signals import Signals


@final
class SoftMovement(Scorer):
    """s <- s - rate (w g + penalty sigmoid'(s)) on each observed step, from s = 0.

    Movement's sum with a penalty on sum sigmoid(s), which pulls down every weight that training
    does not push away from 0; `below(t)` then puts to sleep what lies under the threshold t. A
    step on which a weight is asleep adds no push to it, only the penalty, unless `revive`. A
    parameter that no step has observed yet is scored by the step at hand, as if it were the first.

    Keeps one tensor per parameter, float32 for 16-bit weights.

    Args:
        penalty: The penalty's weight, 0 or more; 0 gives rate times `Movement()`.
        rate: Learning rate of the scores, above 0.
        revive: Sleepers are pushed by their parked values, as in `Movement`.

    Raises:
        TypeError: An argument is no number.
        ValueError: An argument is out of range.

    Source: Sanh, Wolf and Rush 2020 (arXiv:2005.07683), soft movement pruning.

    >>> soft = SoftMovement(penalty=0.4)
    >>> w = {"w": torch.tensor([2.0, -1.0])}
    >>> soft.observe(Signals(weights=w, grads={"w": torch.tensor([-3.0, 0.0])}))
    >>> soft.score(Signals(weights=w))  # sigmoid'(0) = 1/4
    {'w': tensor([ 5.9000, -0.1000])}
    """

    accumulates = elementwise = equivariant = before_step = True

    def __init__(self, penalty: float = 1.0, rate: float = 1.0, revive: bool = False) -> None:
        arguments.number("SoftMovement", "penalty", penalty)
        arguments.number("SoftMovement", "rate", rate)
        if penalty < 0:
            raise ValueError(f"SoftMovement(penalty={penalty!r}): penalty must be 0 or more.")
        if rate <= 0:
            raise ValueError(f"SoftMovement(rate={rate!r}): rate must be above 0.")
        self.penalty = penalty
        self.rate = rate
        self.revive = check_revive("SoftMovement", revive)
        self._scores = Running(repr(self))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Weights and gradients, and parked values to revive."""
        return push_needs(self.revive)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The scores so far."""
        scores = {}
        for name, w in signals.weights.items():
            so_far = self._scores.get(name, like=w)
            scores[name] = self._stepped(signals, name) if so_far is None else so_far.clone()
        return scores

    def observe(self, signals: Signals) -> None:
        """One step of gradient descent on the scores."""
        for name in signals.weights:
            if name in signals.grads:
                self._scores.put(name, self._stepped(signals, name))

    def _stepped(self, signals: Signals, name: str) -> Tensor:
        gain = push(signals, name, self.revive)
        old = self._scores.get(name, like=gain)
        old = torch.zeros_like(gain) if old is None else old
        slope = torch.sigmoid(old) * torch.sigmoid(-old)
        return old + self.rate * (gain - self.penalty * slope)

    def reset(self) -> None:
        """Forget all observed steps."""
        self._scores.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the scores."""
        return {"scores": self._scores.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved scores."""
        check_keys(repr(self), state, {"scores"})
        self._scores.load_state_dict(state["scores"])

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """With and without revival."""
        return (cls(), cls(penalty=0.5, revive=True))

    def __repr__(self) -> str:
        revive = ", revive=True" if self.revive else ""
        return f"SoftMovement(penalty={self.penalty!r}, rate={self.rate!r}{revive})"
