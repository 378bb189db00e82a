"""Statistics of what flows into a layer: magnitudes, means, and distances from a slow mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.activation_requests import ActivationRequest
from saliency.scorer import widened


@final
@dataclass(frozen=True)
class InputMagnitude(ActivationRequest):
    """mean of |x_j| over the positions; broadcasts to the weight, [1 or out, in, ...].

    >>> InputMagnitude().measure(torch.tensor([[[1.0, -3.0], [1.0, 5.0]]]))
    (tensor([[2., 8.]], dtype=torch.float64), 2)
    """

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum of magnitudes."""
        return widened(rows).abs().sum(1, dtype=_wide(rows)), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """One row for all, or one per output where groups differ."""
        return _in_rows(means, weight)


@final
@dataclass(frozen=True, eq=False)
class InputDistance(ActivationRequest):
    """mean of |x_j - c_j|, and mean of x_j, over the positions; [2, 1 or out, in, ...].

    Args:
        centre: (name, first group, number of all groups, mean of x_j [groups, features] in this
            forward pass) -> c, of the same shape; None = 0.

    >>> InputDistance().measure(torch.tensor([[[1.0, -3.0], [1.0, 5.0]]]))[0]
    tensor([[[2., 8.],
             [2., 2.]]], dtype=torch.float64)
    """

    centre: Callable[[str, int, int, Tensor], Tensor] | None = None
    name: str = ""
    first: int = 0
    groups: int = 1

    def of(self, name: str, first: int, groups: int) -> InputDistance:
        """The request as it is for these groups of one parameter."""
        return self if self.centre is None else InputDistance(self.centre, name, first, groups)

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sums of distances and of values."""
        x, count = widened(rows), rows.shape[1]
        values = x.sum(1, dtype=_wide(rows))
        if self.centre is not None and count:
            centre = self.centre(self.name, self.first, self.groups, values / count)
            x = x - centre.to(x.device, x.dtype).unsqueeze(1)
        return torch.stack([x.abs().sum(1, dtype=_wide(rows)), values], dim=1), count

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """Two of what broadcasts to the weight."""
        return torch.stack([_in_rows(means[:, k], weight) for k in range(2)])

    def example(self, positive: Tensor) -> Tensor:
        """Means between 0 and the magnitudes."""
        return torch.stack([positive, positive / 2])


def _in_rows(means: Tensor, weight: Tensor) -> Tensor:
    if len(means) > 1:
        means = means.repeat_interleave(len(weight) // len(means), dim=0)
    return means.reshape(-1, *weight.shape[1:]).to(widened(weight).dtype)


def _wide(tensor: Tensor) -> torch.dtype:
    """What sums are kept in: float64 where the device has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
