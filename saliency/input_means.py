"""Scorers that remember what each weight reads on average."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from saliency.scorer import Scorer


class InputMeans(Scorer):
    """A scorer with mean_inputs(): what a reader would miss of an input that is gone."""

    @property
    @abstractmethod
    def knows_means(self) -> bool:
        """Whether it keeps them, as it was built."""

    @abstractmethod
    def mean_inputs(self) -> dict[str, Tensor]:
        """Name -> mean of the input of each weight, [1 or out, in, ...], of what was observed.

        An input that no step has shown is 0.
        """
