"""How much the output units of a layer are used; all weights of a unit score alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from torch import Tensor

from saliency.activation_requests import (
    ActivationRequest,
    OutputMagnitude,
    OutputMoments,
    OutputZeros,
    said,
)
from saliency.activation_scorer import ActivationScorer
from saliency.scorer import widened


@final
class MeanActivation(ActivationScorer):
    """s = mean of |f(a)| of the weight's output unit.

    Args:
        through: The f that the network applies to the layer's output, such as torch.relu; a
            layer does not know what follows it. None = the output itself.
        accumulate: Average over the observed steps, instead of measuring when the rule fires.

    Raises:
        TypeError: `through` is not callable, or `accumulate` is not a bool.

    Source: Molchanov et al. 2017 (arXiv:1611.06440), mean activation.

    >>> import torch
    >>> from saliency import Signals
    >>> a = {"w": torch.tensor([[0.5], [2.0]])}
    >>> MeanActivation().score(Signals(weights={"w": torch.zeros(2, 3)}, activations=a))
    {'w': tensor([[0.5000],
            [2.0000]])}
    """

    def __init__(
        self, through: Callable[[Tensor], Tensor] | None = None, accumulate: bool = False
    ) -> None:
        super().__init__(accumulate)
        _check_through("MeanActivation", through)
        self.through = through

    @property
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """Mean magnitude of each unit."""
        return OutputMagnitude(self.through)

    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """The statistic."""
        return widened(statistic).clone()

    def __repr__(self) -> str:
        return _call("MeanActivation", self.through, self.accumulate)


@final
class APoZ(ActivationScorer):
    """s = 1 - APoZ, with APoZ the average percentage (here share) of zeros of the output unit.

    A layer's output counts as zero where it is 0 or less: that is what ReLU makes of it.

    Args:
        accumulate: Average over the observed steps, instead of measuring when the rule fires.

    Raises:
        TypeError: `accumulate` is not a bool.

    Source: Hu, Peng, Tai and Tang 2016 (arXiv:1607.03250).

    >>> import torch
    >>> from saliency import Signals
    >>> zeros = {"w": torch.tensor([[1.0], [0.25]])}  # the first unit is dead
    >>> APoZ().score(Signals(weights={"w": torch.zeros(2, 3)}, activations=zeros))
    {'w': tensor([[0.0000],
            [0.7500]])}
    """

    activations = OutputZeros()

    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """One minus the statistic."""
        return 1 - widened(statistic)


@final
class ActivationVariance(ActivationScorer):
    """s = mean of f(a)^2 - (mean of f(a))^2 of the weight's output unit.

    A unit that always says the same can be replaced by a bias. With `accumulate=True` the means
    are averaged, so that the variance is that over all observed steps.

    Args:
        through: The f that the network applies to the layer's output, such as torch.relu.
        accumulate: Average over the observed steps, instead of measuring when the rule fires.

    Raises:
        TypeError: `through` is not callable, or `accumulate` is not a bool.

    Source: Polyak and Wolf 2015, "Channel-level acceleration of deep face representations".

    >>> import torch
    >>> from saliency import Signals
    >>> moments = {"w": torch.tensor([[[1.0], [2.0]], [[1.0], [5.0]]])}
    >>> ActivationVariance().score(Signals(weights={"w": torch.zeros(2, 3)}, activations=moments))
    {'w': tensor([[0.],
            [1.]])}
    """

    def __init__(
        self, through: Callable[[Tensor], Tensor] | None = None, accumulate: bool = False
    ) -> None:
        super().__init__(accumulate)
        _check_through("ActivationVariance", through)
        self.through = through

    @property
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """Mean and mean square of each unit."""
        return OutputMoments(self.through)

    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """The variance; rounding must not make it negative."""
        mean, square = widened(statistic)
        return (square - mean.square()).clamp_(min=0)

    def __repr__(self) -> str:
        return _call("ActivationVariance", self.through, self.accumulate)


def _check_through(owner: str, through: object) -> None:
    if through is not None and not callable(through):
        raise TypeError(
            f"{owner}(through={through!r}): through must be a function of a tensor, such as "
            "torch.relu."
        )


def _call(owner: str, through: Callable[[Tensor], Tensor] | None, accumulate: bool) -> str:
    parts = [said(through), "accumulate=True" if accumulate else ""]
    return f"{owner}({', '.join(part for part in parts if part)})"
