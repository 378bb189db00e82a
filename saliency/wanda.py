"""Wanda: a weight counts as much as what it is multiplied with."""

from __future__ import annotations

from typing import final

from torch import Tensor

from saliency.activation_requests import InputMoment
from saliency.activation_scorer import ActivationScorer
from saliency.scorer import widened


@final
class Wanda(ActivationScorer):
    """s = |w_ij| sqrt(mean x_j^2), with x_j the input that the weight is multiplied with.

    The mean is over samples and positions, and so in proportion to the paper's norm |x_j|_2:
    within a layer both rank alike. The paper compares the weights of one output with each other,
    `PerRow()`.

    Args:
        accumulate: Average mean x_j^2 over the observed steps, instead of taking it when the
            rule fires.

    Raises:
        TypeError: `accumulate` is not a bool.

    Source: Sun, Liu, Bair and Kolter 2024 (arXiv:2306.11695).

    >>> import torch
    >>> from saliency import Signals
    >>> x2 = {"w": torch.tensor([[1.0, 16.0]])}  # inputs of size 1 and 4
    >>> Wanda().score(Signals(weights={"w": torch.tensor([[-3.0, 1.0]])}, activations=x2))
    {'w': tensor([[3., 4.]])}
    """

    activations = InputMoment()

    def worth(self, name: str, weight: Tensor, statistic: Tensor) -> Tensor:
        """|w| times the inputs' root mean square."""
        return widened(weight).abs() * widened(statistic).sqrt()
