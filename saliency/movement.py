"""Movement: does training push a weight away from 0, or towards it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency.running import Running, check_keys
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
class Movement(Scorer):
    """s = -(sum over the observed steps of w g).

    Positive: gradient steps move the weight away from 0. A step on which a weight is asleep adds
    nothing to it, whatever its gradient. A parameter that no step has observed yet is scored by
    the step at hand, -w g.

    Keeps one tensor per parameter, float32 for 16-bit weights.

    Source: Sanh, Wolf and Rush 2020 (arXiv:2005.07683).

    >>> import torch
    >>> w = {"w": torch.tensor([2.0, -1.0])}
    >>> movement = Movement()
    >>> movement.observe(Signals(weights=w, grads={"w": torch.tensor([-3.0, 0.0])}))
    >>> movement.observe(Signals(weights=w, grads={"w": torch.tensor([1.0, -1.0])}, step=1))
    >>> movement.score(Signals(weights=w))
    {'w': tensor([ 4., -1.])}
    """

    needs = frozenset({"weights", "grads"})
    accumulates = elementwise = equivariant = True

    def __init__(self) -> None:
        self._sum = Running(repr(self))

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The sum so far."""
        scores = {}
        for name, w in signals.weights.items():
            total = self._sum.get(name, like=w)
            scores[name] = push(signals, name) if total is None else total.clone()
        return scores

    def observe(self, signals: Signals) -> None:
        """Add -w g of the weights awake."""
        for name in signals.weights:
            if name not in signals.grads:
                continue
            gain = push(signals, name)
            total = self._sum.get(name, like=gain)
            if total is None:
                self._sum.put(name, gain)
            else:
                total.add_(gain)

    def reset(self) -> None:
        """Forget all observed steps."""
        self._sum.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the sums."""
        return {"sum": self._sum.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved sums."""
        check_keys(repr(self), state, {"sum"})
        self._sum.load_state_dict(state["sum"])

    def __repr__(self) -> str:
        return "Movement()"


def push(signals: Signals, name: str) -> Tensor:
    """-w g, and 0 where asleep: there 0 times an overflowed gradient would be NaN."""
    w = widened(signals.weights[name])
    gain = (w * widened(signals.grads[name]).to(w.device)).neg_()
    awake = signals.awake.get(name)
    return gain if awake is None else gain.masked_fill_(~awake.to(w.device), 0.0)
