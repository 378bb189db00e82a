"""Momentum: the gradient, averaged over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from saliency import arguments
from saliency.running import Running, check_keys, lerp_in
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
class Momentum(Scorer):
    """s = |m|, with m <- decay m + (1 - decay) g on each observed step, and m = g on the first.

    The average takes in the gradients of sleeping weights too, which the optimizer's own
    moments do not. A parameter that no step has observed yet is scored by the gradient at hand.

    Keeps one tensor per parameter, float32 for 16-bit gradients.

    Args:
        decay: 0 <= decay < 1; 0 keeps the last gradient alone.

    Raises:
        TypeError: `decay` is not a number.
        ValueError: `decay` is out of range.

    Source: Dettmers and Zettlemoyer 2019 (arXiv:1907.04840), sparse momentum.

    >>> import torch
    >>> w = {"w": torch.zeros(2)}
    >>> momentum = Momentum(decay=0.75)
    >>> momentum.observe(Signals(weights=w, grads={"w": torch.tensor([-1.0, 2.0])}))
    >>> momentum.observe(Signals(weights=w, grads={"w": torch.tensor([-2.0, -2.0])}, step=1))
    >>> momentum.score(Signals(weights=w))
    {'w': tensor([1.2500, 1.0000])}
    """

    needs = frozenset({"weights", "grads"})
    accumulates = elementwise = equivariant = True

    def __init__(self, decay: float = 0.9) -> None:
        arguments.decay("Momentum", decay)
        self.decay = decay
        self._mean = Running(repr(self))

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|m| of each weight, asleep or awake."""
        scores = {}
        for name, w in signals.weights.items():
            mean = self._mean.get(name, like=w)
            grad = widened(signals.grads[name]).to(w.device) if mean is None else mean
            scores[name] = grad.abs()
        return scores

    def observe(self, signals: Signals) -> None:
        """Average in the gradients of this step."""
        for name, w in signals.weights.items():
            if name in signals.grads:
                grad = widened(signals.grads[name]).to(w.device)
                lerp_in(self._mean, name, grad, self.decay)

    def reset(self) -> None:
        """Forget all observed steps."""
        self._mean.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the averages."""
        return {"mean": self._mean.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved averages."""
        check_keys(repr(self), state, {"mean"})
        self._mean.load_state_dict(state["mean"])

    def __repr__(self) -> str:
        return f"Momentum(decay={self.decay!r})"


@dataclass(frozen=True)
class FirstMoment(Scorer):
    """s = |m|, with m the optimizer's own first moment (momentum buffer, or Adam's average).

    Costs no memory, but says nothing of sleeping weights, whose moments are 0. Its mean over the
    weights awake is what sparse momentum redistributes by.

    Source: Dettmers and Zettlemoyer 2019 (arXiv:1907.04840).

    >>> import torch
    >>> m = {"w": torch.tensor([-2.0, 1.0])}
    >>> FirstMoment().score(Signals(weights={"w": torch.ones(2)}, moments=m))
    {'w': tensor([2., 1.])}
    """

    needs = frozenset({"weights", "moments"})
    elementwise = equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|m| of each weight."""
        return {
            name: signals.moments[name].to(w.device).abs() for name, w in signals.weights.items()
        }
