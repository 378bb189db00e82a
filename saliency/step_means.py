"""The mean of a signal over the observed steps, for scorers that gather more than one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from saliency.ages import Ages
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
        self._ages = Ages(owner)

    def observe(self, signal: Mapping[str, Tensor], step: int | None = None) -> None:
        """Take in one step; every step weighs the same."""
        for name, new in signal.items():
            old = self._mean.get(name, like=new)
            stale = None if step is None else self._ages.stale(name, step)
            self._ages.tick(name)
            if stale is not None:  # what this step shows of them is of what was there before
                self._ages.leave_out(name, stale)
            if old is None:
                old = torch.zeros_like(new)
                self._mean.put(name, old)
            ages = self._ages.of(name, old.device)
            if isinstance(ages, Tensor):
                old.copy_(torch.where(ages > 0, old + (new.to(old) - old) / ages.clamp(min=1), 0))
            elif ages == 1:
                old.copy_(new)
            else:
                old.add_((new.to(old) - old) / ages)

    def forget(self, name: str, where: Tensor, step: int) -> None:
        """These entries begin anew, after this step."""
        self._ages.restart(name, where, step)
        if name in self._mean:
            self._mean.held(name, where.device).masked_fill_(where, 0)

    def of(self, name: str, now: Tensor) -> Tensor:
        """The mean so far, or `now` where no step has observed this parameter."""
        mean = self._mean.get(name, like=now)
        if mean is None:
            return now
        ages = self._ages.of(name, mean.device)
        return mean if not isinstance(ages, Tensor) else torch.where(ages > 0, mean, now.to(mean))

    def read(self, need: str, name: str, signals: Signals) -> Tensor:
        """The mean so far, for which this step may lack the signal, or else what this step has."""
        device = signals.weights[name].device
        if name in self._mean and not (signals.has(need) and name in signals.read(need)):
            mean, ages = self._mean.held(name, device), self._ages.of(name, device)
            if isinstance(ages, Tensor) and bool((ages > 0).any()):
                return torch.where(ages > 0, mean, mean[ages > 0].mean())  # as the others are
            return mean
        return self.of(name, signals.read(need)[name].to(device))

    def reset(self) -> None:
        """Forget all steps."""
        self._mean.reset()
        self._ages.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of means and counts."""
        return {"mean": self._mean.state_dict(), **self._ages.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state, after checking it.

        Raises:
            ValueError: It is no state of this kind; nothing was changed.
        """
        check_keys(self._owner, state, {"mean", "steps"} | (set(state) & {"since"}))
        mean, ages = Running(self._owner), Ages(self._owner)
        mean.load_state_dict(state["mean"])
        ages.load_state_dict(state, set(state["mean"]))
        self._mean, self._ages = mean, ages
