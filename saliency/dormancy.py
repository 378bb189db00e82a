"""Dormancy: how little an output unit is used, next to the others of its layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from torch import Tensor

from saliency.activation_requests import ActivationRequest, OutputMagnitude, said
from saliency.activation_scorer import ActivationScorer
from saliency.scorer import widened
from saliency.through import Through


@final
class Dormancy(ActivationScorer):
    """s_i = mean |f(a_i)| / mean over the layer's units of the same; at or below tau = dormant.

    All weights of a unit score alike, so that nodes pool it with any mean. A layer that is
    silent altogether scores 0.

    Args:
        through: The f that the network applies to the layer's output, such as torch.relu or
            Through.RELU; a layer does not know what follows it. None = the output itself.
        accumulate: Average over the observed steps, instead of measuring when the rule fires.

    Raises:
        TypeError: `through` is not callable, or `accumulate` is not a bool.

    Source: Sokar et al. 2023 (arXiv:2302.12902), ReDo, equation 1; tau is 0.025 or 0.1 there.

    >>> import torch
    >>> from saliency import Signals
    >>> a = {"w": torch.tensor([[0.5], [1.5]])}
    >>> Dormancy().score(Signals(weights={"w": torch.zeros(2, 3)}, activations=a))
    {'w': tensor([[0.5000],
            [1.5000]])}
    """

    def __init__(
        self,
        through: Callable[[Tensor], Tensor] | Through | None = None,
        accumulate: bool = False,
    ) -> None:
        super().__init__(accumulate)
        if through is not None and not callable(through):
            raise TypeError(
                f"Dormancy(through={through!r}): through must be a function of a tensor, such as "
                "torch.relu."
            )
        self.through = through

    @property
    def activations(self) -> ActivationRequest:  # type: ignore[override]
        """Mean magnitude of each unit."""
        return OutputMagnitude(self.through)

    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """The statistic over its mean."""
        used = widened(statistic)
        mean = used.mean()
        return used / mean if float(mean) > 0 else used.clone()

    def __repr__(self) -> str:
        parts = (said(self.through), "accumulate=True" if self.accumulate else "")
        return f"Dormancy({', '.join(part for part in parts if part)})"
