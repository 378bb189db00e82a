"""A small network whose weights are those of the made-up signals."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saliency.counter_random import counter_uniform
from saliency.problem import Problem


class _Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Weights are always given, and none can be drawn for no outputs."""


class _Example(nn.Module):
    """A convolution, tanh, and a linear layer; and one without outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.utils.skip_init(nn.Conv2d, 2, 3, 2, bias=False)
        self.fc = _Linear(3, 4, bias=False)
        self.empty = _Linear(3, 0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.conv(x).mean((2, 3)))
        return torch.cat([self.fc(hidden), self.empty(hidden)], dim=1)


def example_problem(weights: Mapping[str, Tensor], *, seed: int = 0) -> Problem:
    """Cross entropy of a small network with these weights, over two batches.

    Weights of 16 bits are taken in float32.

    Args:
        weights: Those of `example_signals()`.
        seed: Seed of the data.

    >>> from saliency.example_signals import example_signals
    >>> example_problem(example_signals().weights).samples()
    5
    """
    model = _Example().eval()
    wide = {n: w.float() if w.dtype.itemsize < 4 else w for n, w in weights.items()}
    dtype = next(iter(wide.values())).dtype
    batches = []
    for step, size in enumerate((3, 2)):
        x = counter_uniform(seed, step=step, name="inputs", shape=(size, 2, 3, 3)) * 2 - 1
        y = counter_uniform(seed, step=step, name="targets", shape=(size,)) * 4
        batches.append((x.to(dtype), y.long()))
    return Problem(model, wide, batches, nn.CrossEntropyLoss(), seed=seed)
