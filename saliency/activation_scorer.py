"""What all scorers of activations share: the statistic at hand, or its mean over steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from saliency import arguments
from saliency.activation_requests import ActivationRequest
from saliency.scorer import Scorer
from saliency.signals import Signals
from saliency.step_means import StepMeans


class ActivationScorer(Scorer):
    """Scores weights by a statistic of their layer's inputs or outputs.

    Args:
        accumulate: False scores by the statistic that is gathered when the rule fires. True
            averages it over the observed steps; a parameter that no step has observed yet is
            scored by the step at hand.

    Raises:
        TypeError: `accumulate` is not a bool.
    """

    needs = frozenset({"weights", "activations"})

    def __init__(self, accumulate: bool = False) -> None:
        arguments.flag(type(self).__name__, "accumulate", accumulate)
        self.accumulate = accumulate
        self._means = StepMeans(type(self).__name__)

    @property
    @abstractmethod
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """The statistic."""

    @abstractmethod
    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """New scores of one weight from its statistic; they broadcast to the weight."""

    @property
    def accumulates(self) -> bool:  # type: ignore[override]
        """Whether steps are observed."""
        return self.accumulate

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """Scores from the mean so far, or from the step at hand."""
        return {
            name: self.worth(name, w, self._means.read("activations", name, signals))
            for name, w in signals.weights.items()
        }

    def observe(self, signals: Signals) -> None:
        """Average in the statistic of this step."""
        seen = signals.activations
        found = {name: seen[name] for name in signals.weights if name in seen}
        self._means.observe(found, signals.step)

    def restarted(self, entries: Mapping[str, Tensor], step: int) -> None:
        """Forget the outputs of units all of whose weights are others now."""
        request = self.activations
        if not self.accumulate or not request.of_outputs:
            return
        for name, where in entries.items():
            units = where.flatten(1).all(1) if where.dim() > 1 else where
            if bool(units.any()):
                self._means.forget(name, request.of_units(units, where), step)

    def reset(self) -> None:
        """Forget all observed steps."""
        self._means.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the means; empty unless steps are observed."""
        return self._means.state_dict() if self.accumulate else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved means."""
        if self.accumulate:
            self._means.load_state_dict(state)
        else:
            super().load_state_dict(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'accumulate=True' if self.accumulate else ''})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Without and with memory."""
        return (cls(), cls(accumulate=True))
