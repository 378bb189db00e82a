"""Utility: what an input contributes to the units that read it, averaged over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from torch import Tensor

from saliency import arguments
from saliency.activation_requests import ActivationRequest
from saliency.ages import Ages
from saliency.input_means import InputMeans
from saliency.input_statistics import InputDistance, InputMagnitude
from saliency.running import Running, check_keys
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@final
class Utility(InputMeans):
    """u <- decay u + (1 - decay) |w| mean |x|; s = u / (1 - decay^t) after t observed steps.

    x is the input that the weight reads, so that the mean over the outgoing weights of a node is
    the contribution utility of that node, mean |w_out| mean |h|. Weights that are reset or wake
    begin again with t = 0. What no step has observed yet is scored by the step at hand, or, where
    that lacks it, like the best of its tensor.

    Args:
        decay: 0 <= decay < 1.
        centred: |x - m| in place of |x|, with m the slow mean of x, corrected in the same way
            and this step included: an input that is constant contributes nothing that a bias
            could not.
        means: Keep m, for `Reset(transfer=True)`; `centred` does so anyway.

    Raises:
        TypeError: `decay` is not a number, or a flag is not a bool.
        ValueError: `decay` is out of range.

    Source: Dohare et al. 2024 (Nature 632), continual backprop, equation 1; decay is 0.99 there.
    The centred form is that of Dohare, Sutton and Mahmood 2021 (arXiv:2108.06325), section 4.

    >>> import torch
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

    def __init__(self, decay: float = 0.99, centred: bool = False, means: bool = False) -> None:
        arguments.decay("Utility", decay)
        arguments.flag("Utility", "centred", centred)
        arguments.flag("Utility", "means", means)
        self.decay, self.centred, self.means = decay, centred, means
        self._mean, self._ages = Running(repr(self)), Ages(repr(self))
        self._inputs, self._input_ages = Running(repr(self)), Ages(repr(self))
        self._request = self._asked()

    @property
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """Mean magnitude of each input, or its mean distance from the slow mean, and its mean."""
        return self._request

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The average without its bias towards 0, or the step at hand."""
        scores = {}
        for name, w in signals.weights.items():
            mean = self._mean.get(name, like=w)
            if mean is None:
                scores[name] = self._now(signals, name, w)
                continue
            ages = self._ages.of(name, w.device)
            scores[name] = mean / self._weight_of(ages, mean)
            if isinstance(ages, Tensor) and bool((new := ages == 0).any()):
                known = signals.has("activations") and name in signals.activations
                if known:
                    best = self._now(signals, name, w)[new]
                else:
                    best = scores[name].masked_fill(new, 0).max()
                scores[name][new] = best
        return scores

    def observe(self, signals: Signals) -> None:
        """Average in this step."""
        for name, w in signals.weights.items():
            if name not in signals.activations:
                continue
            _add(self._mean, self._ages, name, self._now(signals, name, w), self.decay, signals)
            if self.knows_means:
                seen = signals.activations[name][1].to(w.device)
                _add(self._inputs, self._input_ages, name, seen, self.decay, signals)

    def restarted(self, entries: Mapping[str, Tensor], step: int) -> None:
        """Forget what was observed of these entries; the mean of an input if all of it is."""
        for name, where in entries.items():
            self._ages.restart(name, where, step)
            if name in self._mean:
                self._mean.held(name, where.device).masked_fill_(where, 0)
            if name in self._inputs:
                value = self._inputs.held(name, where.device)
                column = where if where.shape == value.shape else where.all(0, keepdim=True)
                self._input_ages.restart(name, column, step)
                value.masked_fill_(column, 0)

    @property
    def knows_means(self) -> bool:
        """Whether m is kept."""
        return self.centred or self.means

    def mean_inputs(self) -> dict[str, Tensor]:
        """M of every parameter that was observed."""
        found = {}
        for name, value in self._inputs.items():
            ages = self._input_ages.of(name, value.device)
            # Where nothing was observed the sum is 0, and so is the mean.
            found[name] = value / self._weight_of(_at_least_one(ages), value)
        return found

    def reset(self) -> None:
        """Forget all observed steps."""
        self._mean.reset()
        self._inputs.reset()
        self._ages.reset()
        self._input_ages.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the averages, and how many steps each has seen."""
        state = {"mean": self._mean.state_dict(), **self._ages.state_dict()}
        if self.knows_means:
            state["inputs"] = self._inputs.state_dict()
            state["input_ages"] = self._input_ages.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved averages."""
        more = {"inputs", "input_ages"} if self.knows_means else set()
        check_keys(repr(self), state, {"mean", "steps"} | more | (set(state) & {"since"}))
        mean, ages = Running(repr(self)), Ages(repr(self))
        inputs, input_ages = Running(repr(self)), Ages(repr(self))
        mean.load_state_dict(state["mean"])
        ages.load_state_dict(state, set(state["mean"]))
        if more:
            inputs.load_state_dict(state["inputs"])
            input_ages.load_state_dict(state["input_ages"], set(state["inputs"]))
        self._mean, self._ages, self._inputs, self._input_ages = mean, ages, inputs, input_ages

    def __repr__(self) -> str:
        flags = "".join(f", {k}=True" for k in ("centred", "means") if vars(self).get(k))
        return f"Utility(decay={self.decay!r}{flags})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Each form."""
        return (cls(), cls(centred=True), cls(means=True))

    # --- inside --------------------------------------------------------------------------------

    def _asked(self) -> ActivationRequest:
        if not self.knows_means:
            return InputMagnitude()
        return InputDistance(self._centre if self.centred else None)

    def _now(self, signals: Signals, name: str, w: Tensor) -> Tensor:
        seen = signals.activations[name]
        weight = widened(w)
        return weight.abs() * (seen[0] if self.knows_means else seen).to(w.device, weight.dtype)

    def _centre(self, name: str, first: int, groups: int, now: Tensor) -> Tensor:
        """M with the mean of this forward pass averaged in, for groups of rows of one weight."""
        if name not in self._inputs:
            return now
        value = self._inputs.held(name, now.device)
        ages = self._input_ages.of(name, value.device)
        if isinstance(ages, Tensor):
            ages = _rows_of(ages.expand(value.shape), first, groups, now)
        before = _rows_of(value, first, groups, now).to(now.dtype)
        slow = before * self.decay + now * (1 - self.decay)
        return slow / self._weight_of(ages + 1, now)

    def _weight_of(self, ages: int | Tensor, like: Tensor) -> float | Tensor:
        """1 - decay^t: all that so many steps weigh together."""
        return 1 - self.decay ** (ages.to(like.dtype) if isinstance(ages, Tensor) else ages)


def _at_least_one(ages: int | Tensor) -> int | Tensor:
    return ages.clamp(min=1) if isinstance(ages, Tensor) else max(ages, 1)


def _add(kept: Running, ages: Ages, name: str, new: Tensor, decay: float, signals: Signals) -> None:
    """Average in one step, but for entries that this step shows as they were before."""
    stale = ages.stale(name, signals.step)
    ages.tick(name)
    new = new * (1 - decay)
    if stale is not None:
        new = new.masked_fill(stale.to(new.device), 0)
        ages.leave_out(name, stale)
    old = kept.get(name, like=new)
    kept.put(name, new if old is None else old * decay + new)


def _rows_of(value: Tensor, first: int, groups: int, now: Tensor) -> Tensor:
    """[1 or out, in, ...] -> [groups, features], of the groups from `first` on."""
    each = len(value) // groups if len(value) > 1 else 1  # rows of a group are alike
    begin = first * each
    return value[begin : begin + len(now) * each : each].reshape(len(now), -1)
