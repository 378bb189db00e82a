"""The mean of a signal over the observed steps, for scorers that gather more than one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency.running import Running, check_keys
from saliency.signals import Signals


@final
class StepMeans:
    """m <- m + (x - m) / k at the k-th observed step, by parameter name.

    >>> import torch
    >>> means = StepMeans("Wanda()")
    >>> means.observe({"w": torch.tensor([1.0])})
    >>> means.observe({"w": torch.tensor([4.0])})
    >>> means.of("w", torch.tensor([9.0]))
    tensor([2.5000])
    >>> means.of("v", torch.tensor([9.0]))
    tensor([9.])
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._mean = Running(owner)
        self._steps: dict[str, int] = {}

    def observe(self, signal: Mapping[str, Tensor]) -> None:
        """Take in one step; every step weighs the same."""
        for name, new in signal.items():
            old = self._mean.get(name, like=new)
            steps = self._steps[name] = self._steps.get(name, 0) + 1
            if old is None:
                self._mean.put(name, new.clone())
            else:
                old.add_((new.to(old) - old) / steps)

    def of(self, name: str, now: Tensor) -> Tensor:
        """The mean so far, or `now` if no step has observed this parameter."""
        mean = self._mean.get(name, like=now)
        return now if mean is None else mean

    def read(self, need: str, name: str, signals: Signals) -> Tensor:
        """The mean so far, for which this step may lack the signal, or else what this step has."""
        device = signals.weights[name].device
        if name in self._mean and not (signals.has(need) and name in signals.read(need)):
            return self._mean.held(name, device)
        return self.of(name, signals.read(need)[name].to(device))

    def reset(self) -> None:
        """Forget all steps."""
        self._mean.reset()
        self._steps = {}

    def state_dict(self) -> dict[str, Any]:
        """A copy of means and counts."""
        return {"mean": self._mean.state_dict(), "steps": dict(self._steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state, after checking it.

        Raises:
            ValueError: It is no state of this kind; nothing was changed.
        """
        check_keys(self._owner, state, {"mean", "steps"})
        mean, steps = Running(self._owner), state["steps"]
        mean.load_state_dict(state["mean"])
        if not isinstance(steps, Mapping) or set(steps) != set(state["mean"]):
            raise ValueError(f"{self._owner}: its counts are not of the same names as its means.")
        for name, count in steps.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{self._owner}: {name!r} was observed on {count!r} steps.")
        self._mean, self._steps = mean, dict(steps)
