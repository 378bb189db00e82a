"""Utility: what an input contributes to the units that read it, averaged over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from saliency import arguments
from saliency.activation_requests import ActivationRequest
from saliency.running import Running, check_keys
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
@dataclass(frozen=True)
class InputMagnitude(ActivationRequest):
    """mean of |x_j| over the positions; broadcasts to the weight, [1 or out, in, ...].

    >>> InputMagnitude().measure(torch.tensor([[[1.0, -3.0], [1.0, 5.0]]]))
    (tensor([[2., 8.]], dtype=torch.float64), 2)
    """

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum of magnitudes."""
        kind = torch.float32 if rows.device.type == "mps" else torch.float64
        return widened(rows).abs().sum(1, dtype=kind), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """One row for all, or one per output where groups differ."""
        if len(means) > 1:
            means = means.repeat_interleave(len(weight) // len(means), dim=0)
        return means.reshape(-1, *weight.shape[1:]).to(widened(weight).dtype)


@final
class Utility(Scorer):
    """u <- decay u + (1 - decay) |w| mean |x|; s = u / (1 - decay^t) after t observed steps.

    x is the input that the weight reads, so that the mean over the outgoing weights of a node is
    the contribution utility of that node, mean |w_out| mean |h|. A parameter that no step has
    observed yet is scored by the step at hand.

    Args:
        decay: 0 <= decay < 1.

    Raises:
        TypeError: `decay` is not a number.
        ValueError: `decay` is out of range.

    Source: Dohare et al. 2024 (Nature 632), continual backprop, equation 1; decay is 0.99 there.

    >>> utility = Utility(decay=0.5)
    >>> def seen(h):
    ...     w = {"w": torch.tensor([[1.0, -2.0]])}
    ...     return Signals(weights=w, activations={"w": torch.tensor([[h, 1.0]])})
    >>> utility.observe(seen(4.0)); utility.observe(seen(1.0))
    >>> utility.score(seen(1.0))  # (4 / 4 + 1 / 2) / (3 / 4) = 2
    {'w': tensor([[2., 2.]])}
    """

    needs = frozenset({"weights", "activations"})
    accumulates = True

    def __init__(self, decay: float = 0.99) -> None:
        arguments.decay("Utility", decay)
        self.decay = decay
        self._mean = Running(repr(self))
        self._steps: dict[str, int] = {}

    @property
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """Mean magnitude of each input."""
        return InputMagnitude()

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The average without its bias towards 0, or the step at hand."""
        scores = {}
        for name, w in signals.weights.items():
            mean = self._mean.get(name, like=w)
            if mean is None:
                scores[name] = _now(signals, name, w)
            else:
                scores[name] = mean / (1 - self.decay ** self._steps[name])
        return scores

    def observe(self, signals: Signals) -> None:
        """Average in this step."""
        for name, w in signals.weights.items():
            if name not in signals.activations:
                continue
            new = _now(signals, name, w) * (1 - self.decay)
            mean = self._mean.get(name, like=w)
            self._mean.put(name, new if mean is None else mean * self.decay + new)
            self._steps[name] = self._steps.get(name, 0) + 1

    def reset(self) -> None:
        """Forget all observed steps."""
        self._mean.reset()
        self._steps = {}

    def state_dict(self) -> dict[str, Any]:
        """A copy of the averages, and how many steps each has seen."""
        return {"mean": self._mean.state_dict(), "steps": dict(self._steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved averages."""
        check_keys(repr(self), state, {"mean", "steps"})
        steps = state["steps"]
        if not isinstance(steps, Mapping) or set(steps) != set(state["mean"]):
            raise ValueError(f"{self!r}: steps must count the observed steps of every average.")
        self._mean.load_state_dict(state["mean"])
        self._steps = {name: int(count) for name, count in steps.items()}

    def __repr__(self) -> str:
        return f"Utility(decay={self.decay!r})"


def _now(signals: Signals, name: str, w: Tensor) -> Tensor:
    weight = widened(w)
    return weight.abs() * signals.activations[name].to(w.device, weight.dtype)
