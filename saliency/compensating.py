"""Scorers that can also say how the survivors make up for what falls asleep."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor

from saliency.scorer import Scorer
from saliency.signals import Signals


class CompensatingScorer(Scorer):
    """A scorer with compensate(choice, signals): the update of the survivors."""

    @abstractmethod
    def compensate(self, choice: Mapping[str, Tensor], signals: Signals) -> dict[str, Tensor]:
        """What to add to the weights when the chosen ones fall asleep.

        Args:
            choice: name -> bool tensor of the weight's shape, True = falls asleep.
            signals: The signals that the choice was made from, weights as they were before.

        Returns:
            name -> update of the weight's shape and dtype. Entries that are chosen, asleep or
            frozen are not applied.
        """
