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
    """s = -(sum over the observed steps of w g), with w as it was in the forward pass.

    Positive: gradient steps move the weight away from 0. A step on which a weight is asleep adds
    nothing to it, whatever its gradient, unless `revive`. A parameter that no step has observed
    yet is scored by the step at hand, -w g.

    Keeps one tensor per parameter, float32 for 16-bit weights.

    Args:
        revive: A sleeper goes on with its parked value p: each step adds -p g, where g is the
            gradient that it would have if it were awake. The sum is then the published score,
            trained straight through the mask, and a sleeper can overtake weights that are awake.

    Raises:
        TypeError: `revive` is no bool.

    Source: Sanh, Wolf and Rush 2020 (arXiv:2005.07683).

    >>> import torch
    >>> w = {"w": torch.tensor([2.0, -1.0])}
    >>> movement = Movement()
    >>> movement.observe(Signals(weights=w, grads={"w": torch.tensor([-3.0, 0.0])}))
    >>> movement.observe(Signals(weights=w, grads={"w": torch.tensor([1.0, -1.0])}, step=1))
    >>> movement.score(Signals(weights=w))
    {'w': tensor([ 4., -1.])}
    """

    accumulates = elementwise = equivariant = before_step = True

    def __init__(self, revive: bool = False) -> None:
        self.revive = check_revive("Movement", revive)
        self._sum = Running(repr(self))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """Weights and gradients, and parked values to revive."""
        return push_needs(self.revive)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The sum so far."""
        scores = {}
        for name, w in signals.weights.items():
            total = self._sum.get(name, like=w)
            scores[name] = push(signals, name, self.revive) if total is None else total.clone()
        return scores

    def observe(self, signals: Signals) -> None:
        """Add -w g of the weights awake, and -p g of sleepers to revive."""
        for name in signals.weights:
            if name not in signals.grads:
                continue
            gain = push(signals, name, self.revive)
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

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """With and without revival."""
        return (cls(), cls(revive=True))

    def __repr__(self) -> str:
        return f"Movement(revive={self.revive!r})" if self.revive else "Movement()"


def push(signals: Signals, name: str, revive: bool) -> Tensor:
    """-w g, and 0 where asleep: there 0 times an overflowed gradient would be NaN.

    With `revive` the parked value stands in for a sleeping weight.
    """
    w = widened(signals.weights[name])
    g = widened(signals.grads[name]).to(w.device)
    if revive:
        # Sleepers are 0 among the weights and all others are 0 among the parked values.
        parked = signals.parked
        return ((w + widened(parked[name]).to(w.device) if name in parked else w) * g).neg_()
    gain = (w * g).neg_()
    awake = signals.awake.get(name)
    return gain if awake is None else gain.masked_fill_(~awake.to(w.device), 0.0)


def push_needs(revive: bool) -> frozenset[str]:
    """What `push` reads."""
    return frozenset({"weights", "grads", "parked"} if revive else {"weights", "grads"})


def check_revive(owner: str, revive: object) -> bool:
    """The switch itself; TypeError unless it is a bool."""
    if isinstance(revive, bool):
        return revive
    raise TypeError(f"{owner}(revive={revive!r}): revive must be True or False.")
