"""Accuracy and loss of a model on a split."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sleepengine.pipeline.problems.dataset import Samples

LossFn = Callable[[Any, Any], Tensor]
BATCH = 2048


@dataclass(frozen=True)
class Score:
    """Mean loss and share of right answers over `count` samples.

    Either is None when it is unknown: a split without samples, targets that are not classes.
    """

    loss: float | None
    accuracy: float | None
    count: int


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Samples, loss_fn: LossFn, *, batch_size: int = BATCH
) -> Score:
    """Loss = sum of n_b loss_b / n over the batches b, accuracy = share of argmax(output) == y.

    The model is in eval mode meanwhile, and every module gets its own mode back. Sums are taken in
    float64. `loss_fn` must give the mean of a batch, as PyTorch's losses do by default.

    >>> from sleepengine.pipeline.problems.bundle import Split
    >>> class Zero(nn.Module):
    ...     def forward(self, x):
    ...         return torch.zeros(len(x), 2)
    >>> split = Split(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1]))
    >>> evaluate(Zero(), split, nn.functional.cross_entropy)
    Score(loss=0.6931471824645996, accuracy=0.75, count=4)
    """
    if len(split) == 0:
        return Score(None, None, 0)
    modes = [(module, module.training) for module in model.modules() if module.training]
    model.eval()
    loss, right, count, classes = 0.0, 0, 0, True
    try:
        for x, y in split.batches(batch_size):
            output = model(x)
            count += len(y)
            loss += float(loss_fn(output, y)) * len(y)
            classes = classes and _are_classes(output, y)
            if classes:
                right += int((output.argmax(dim=1) == y).sum())
    finally:
        for module, mode in modes:
            module.training = mode
    if count == 0:
        return Score(None, None, 0)
    mean = loss / count
    return Score(mean if math.isfinite(mean) else None, right / count if classes else None, count)


def _are_classes(output: Any, y: Tensor) -> bool:
    """Whether the output is one score per class and the target the class."""
    if not isinstance(output, Tensor) or output.dim() != 2 or y.dim() != 1:
        return False
    return not y.is_floating_point() and y.dtype is not torch.bool
