"""Which statistic of a layer's inputs or outputs a scorer asks for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.curvature.flat import readable
from saliency.curvature.request import positive_int
from saliency.curvature.storage import DEFAULT_MEMORY
from saliency.scorer import widened


class ActivationRequest(ABC):
    """A mean over positions (samples, pixels, tokens) of something about inputs or outputs.

    A scorer that needs "activations" holds one as its attribute `activations`; whoever gathers
    signals hands it to `gather` and the result to the scorer as `signals.activations`.

    Attributes:
        of_outputs: Whether it is about what comes out of a layer; else about what goes in.
    """

    of_outputs: bool = False

    @abstractmethod
    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sums over positions of rows [groups, positions, features], and how many there were.

        The sums are float64 [groups, ...].
        """

    @abstractmethod
    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """The means [groups, ...] in the shape that the scorer reads, for this weight."""

    def check(self, name: str, weight: Tensor) -> None:
        """Whether it can be had of this weight; asked before training.

        Raises:
            ValueError: It would not fit in memory (the message names the size that does).
        """
        return None

    def example(self, positive: Tensor) -> Tensor:
        """A made-up statistic of a weight, from positive numbers of the weight's shape."""
        return positive

    def of_units(self, units: Tensor, weight: Tensor) -> Tensor:
        """Bool (out,) of the weight's units -> the entries of the statistic that are of them."""
        return units.reshape(-1, *[1] * (weight.dim() - 1))

    def of(self, name: str, first: int, groups: int) -> ActivationRequest:
        """The request for rows of one parameter, from its group `first` of `groups` on."""
        return self


@final
@dataclass(frozen=True)
class InputMoment(ActivationRequest):
    """m_j = mean of x_j^2 over the positions; broadcasts to the weight, [1 or out, in, ...].

    Entries of a convolution see their own window cell, with zeros where it lies in the padding.

    >>> InputMoment().measure(torch.tensor([[[1.0, 3.0], [1.0, 5.0]]]))
    (tensor([[ 2., 34.]], dtype=torch.float64), 2)
    """

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum of squares."""
        return widened(rows).square().sum(1, dtype=_wide(rows)), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """One row for all, or one per output where groups differ."""
        if len(means) > 1:
            means = means.repeat_interleave(len(weight) // len(means), dim=0)
        return means.reshape(-1, *weight.shape[1:]).to(widened(weight).dtype)


@final
@dataclass(frozen=True)
class InputGram(ActivationRequest):
    """G = mean of x x' over the positions: [groups, d, d] in float64, d inputs per output.

    d is the number of entries in one row of the weight, in row-major order.

    Args:
        memory: Bytes that one group may take, 8 d^2.

    Raises:
        TypeError: `memory` is no int.
        ValueError: `memory` is below 1; when asked, a weight has rows that do not fit.

    >>> InputGram().measure(torch.tensor([[[1.0, 3.0], [1.0, 5.0]]]))[0]
    tensor([[[ 2.,  8.],
             [ 8., 34.]]], dtype=torch.float64)
    """

    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        positive_int("InputGram", "memory", self.memory)

    def check(self, name: str, weight: Tensor) -> None:
        """Whether a group fits in `memory`."""
        width = weight.shape[1:].numel()
        if 8 * width * width > self.memory:
            raise ValueError(
                f"{self!r}: the second moments of the {width} inputs of {name!r} take "
                f"{readable(8 * width * width)}, and memory= allows {readable(self.memory)}; "
                f"{math.isqrt(self.memory // 8)} inputs or fewer fit. Give more memory=, or leave "
                "this parameter out."
            )

    def __repr__(self) -> str:
        return f"InputGram({'' if self.memory == DEFAULT_MEMORY else f'memory={self.memory}'})"

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum of outer products."""
        x = widened(rows)
        return (x.transpose(1, 2) @ x).to(_wide(rows)), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """As it is."""
        return means

    def example(self, positive: Tensor) -> Tensor:
        """A diagonal that falls, and a constant beside it: positive definite."""
        d = positive.shape[1:].numel()
        base = torch.full((d, d), 0.25, dtype=torch.float64, device=positive.device)
        if positive.numel():
            base += torch.diag(positive[0].reshape(-1).double())
        return (base + 0.5 * torch.eye(d, device=positive.device)).unsqueeze(0)


@final
@dataclass(frozen=True)
class OutputMagnitude(ActivationRequest):
    """mean of |f(a)| of each output unit over the positions; [out, 1, ...].

    Args:
        through: The f that the network applies to the layer's output, such as torch.relu;
            None = the output itself.

    >>> OutputMagnitude().measure(torch.tensor([[[1.0, -3.0], [1.0, 5.0]]]))
    (tensor([[2., 8.]], dtype=torch.float64), 2)
    """

    through: Callable[[Tensor], Tensor] | None = None
    of_outputs = True

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sum of magnitudes."""
        a = _after(self.through, widened(rows))
        return a.abs().sum(1, dtype=_wide(rows)), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """One number per row of the weight."""
        return _per_unit(means[0], weight)

    def __repr__(self) -> str:
        return f"OutputMagnitude({said(self.through)})"


@final
@dataclass(frozen=True)
class OutputZeros(ActivationRequest):
    """Share of the positions at which an output unit is 0 or less, so 0 after ReLU; [out, 1, ...].

    >>> OutputZeros().measure(torch.tensor([[[1.0, -3.0], [0.0, 5.0]]]))
    (tensor([[1., 1.]], dtype=torch.float64), 2)
    """

    of_outputs = True

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """How many."""
        return (rows <= 0).sum(1).to(_wide(rows)), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """One number per row of the weight."""
        return _per_unit(means[0], weight)


@final
@dataclass(frozen=True)
class OutputMoments(ActivationRequest):
    """mean of a and mean of a^2 of each output unit over the positions; float64 [2, out, 1, ...].

    Means, so that they can be averaged over steps; a variance could not.
    """

    through: Callable[[Tensor], Tensor] | None = None
    of_outputs = True

    def measure(self, rows: Tensor) -> tuple[Tensor, int]:
        """Sums of values and of squares."""
        a = _after(self.through, widened(rows))
        sums = [a.sum(1, dtype=_wide(rows)), a.to(_wide(rows)).square().sum(1)]
        return torch.stack(sums, dim=1), rows.shape[1]

    def finish(self, means: Tensor, weight: Tensor) -> Tensor:
        """Two numbers per row of the weight."""
        return means[0].reshape(2, -1, *[1] * (weight.dim() - 1))

    def of_units(self, units: Tensor, weight: Tensor) -> Tensor:
        """Both moments of each unit."""
        return super().of_units(units, weight).expand(2, -1, *[1] * (weight.dim() - 1))

    def example(self, positive: Tensor) -> Tensor:
        """Second moments above the squares of the first."""
        return torch.stack([positive, positive.square() + positive]).double()

    def __repr__(self) -> str:
        return f"OutputMoments({said(self.through)})"


def said(through: Callable[[Tensor], Tensor] | None) -> str:
    """The argument as a call shows it, the same in every process.

    >>> said(torch.relu), said(torch.nn.ReLU()), said(None)
    ('through=relu', 'through=ReLU()', '')
    """
    if through is None:
        return ""
    name = getattr(through, "__name__", repr(through))
    return f"through={name}"


def _after(through: Callable[[Tensor], Tensor] | None, rows: Tensor) -> Tensor:
    """through(rows); of a copy, because it may work in place and the rows are the model's own."""
    return rows if through is None else through(rows.clone())


def _wide(tensor: Tensor) -> torch.dtype:
    """What sums are kept in: float64 where the device has it."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _per_unit(values: Tensor, weight: Tensor) -> Tensor:
    shape = (-1, *[1] * (weight.dim() - 1))
    return values.reshape(shape).to(widened(weight).dtype)
