"""Gradient change: which weights does the loss disagree about from step to step?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency.running import Running, check_keys
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
class GradientChange(Scorer):
    """s = |g - g'|, with g' the gradient on the last observed step before this one.

    A parameter that no step has observed yet counts as having had g' = 0. A step is scored
    before it is observed: afterwards only its own gradient is remembered.

    Keeps one tensor per parameter, float32 for 16-bit gradients.

    >>> import torch
    >>> w = {"w": torch.zeros(2)}
    >>> change = GradientChange()
    >>> change.observe(Signals(weights=w, grads={"w": torch.tensor([1.0, -1.0])}, step=1))
    >>> change.score(Signals(weights=w, grads={"w": torch.tensor([1.0, 2.0])}, step=2))
    {'w': tensor([0., 3.])}
    """

    needs = frozenset({"weights", "grads"})
    accumulates = elementwise = equivariant = True

    def __init__(self) -> None:
        self._last = Running(repr(self))
        self._step: int | None = None

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|g - g'| of each weight, asleep or awake.

        Raises:
            ValueError: The step at hand has been observed already, so g' is lost.
        """
        if signals.step == self._step:
            raise ValueError(
                f"GradientChange() is asked for the scores of step {self._step} after it observed "
                "that step. Score a step before observing it, and number the steps (step=)."
            )
        scores = {}
        for name, w in signals.weights.items():
            grad = widened(signals.grads[name]).to(w.device)
            last = self._last.get(name, like=grad)
            scores[name] = grad.abs() if last is None else (grad - last).abs_()
        return scores

    def observe(self, signals: Signals) -> None:
        """Remember the gradients of this step in place of the last ones."""
        for name, w in signals.weights.items():
            if name not in signals.grads:
                continue
            grad = widened(signals.grads[name]).to(w.device)
            last = self._last.get(name, like=grad)
            if last is None:
                self._last.put(name, grad.clone())
            else:
                last.copy_(grad)
        self._step = signals.step

    def reset(self) -> None:
        """Forget all observed steps."""
        self._last.reset()
        self._step = None

    def state_dict(self) -> dict[str, Any]:
        """A copy of the last gradients, and their step."""
        return {"last": self._last.state_dict(), "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved gradients and their step."""
        check_keys(repr(self), state, {"last", "step"})
        step = state["step"]
        if isinstance(step, bool) or not isinstance(step, (int, type(None))):
            raise ValueError(f"GradientChange(): its step must be an integer or None, got {step!r}")
        self._last.load_state_dict(state["last"])
        self._step = step

    def __repr__(self) -> str:
        return "GradientChange()"
