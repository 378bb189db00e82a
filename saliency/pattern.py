"""N of M: of every M consecutive inputs of an output N stay awake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True)
class NofMInputs:
    """Groups of m consecutive inputs (dimension 1), at each kernel position of a convolution.

    Args:
        n: How many of a group stay awake.
        m: Inputs in a group.

    Raises:
        ValueError: Not whole numbers with 0 < n < m.

    >>> NofMInputs(2, 4).drop
    2
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in (self.n, self.m))
        if not whole or not 0 < self.n < self.m:
            raise ValueError(f"{self!r}: n of m inputs stay awake, with 0 < n < m.")

    @property
    def drop(self) -> int:
        """How many of a group fall asleep."""
        return self.m - self.n

    def order(self, owner: str, name: str, shape: Sequence[int]) -> list[int]:
        """Row-major places of a row's entries, such that groups of m lie side by side.

        Raises:
            ValueError: m does not divide the inputs.

        >>> NofMInputs(1, 2).order("ExactOBS", "conv", (8, 4, 1, 2))
        [0, 2, 4, 6, 1, 3, 5, 7]
        """
        if len(shape) < 2:
            raise ValueError(f"{owner}: {name!r} has shape {tuple(shape)}; it has no inputs.")
        inputs, positions = shape[1], 1
        for side in shape[2:]:
            positions *= side
        if inputs % self.m:
            raise ValueError(
                f"{owner}: {self.m} does not divide the {inputs} inputs of {name!r}, of shape "
                f"{tuple(shape)}."
            )
        return [i * positions + place for place in range(positions) for i in range(inputs)]


def group_sums(values: Tensor, m: int) -> Tensor:
    """Sums of m columns side by side, written to each of the m.

    >>> import torch
    >>> group_sums(torch.tensor([[1, 0, 2, 3]]), 2)
    tensor([[1, 1, 5, 5]])
    """
    return values.unflatten(-1, (-1, m)).sum(-1).repeat_interleave(m, dim=-1)
