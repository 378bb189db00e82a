"""Parameters by name as one vector, and back; and what fits in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a vector of all: in order, row-major.

    >>> layout = Layout.of({"a": torch.zeros(2, 2), "b": torch.zeros(1)})
    >>> layout.size, layout.starts
    (5, (0, 4))
    >>> layout.named(torch.arange(5.0))["b"]
    tensor([4.])
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Layout:
        """The layout of these tensors."""
        return Layout(tuple(tensors), tuple(t.shape for t in tensors.values()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each parameter."""
        return tuple(shape.numel() for shape in self.shapes)

    @property
    def size(self) -> int:
        """Entries of all parameters."""
        return sum(self.sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Place of each parameter's first entry."""
        return tuple(accumulate(self.sizes, initial=0))[:-1]

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """One tensor [..., size]; dimensions in front of a parameter's own are kept."""
        parts = []
        for name, shape in zip(self.names, self.shapes, strict=True):
            tensor = tensors[name]
            lead = tensor.shape[: tensor.dim() - len(shape)]
            parts.append(tensor.reshape(*lead, shape.numel()))
        return torch.cat(parts, dim=-1)

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """[..., size] as tensors [..., *shape] by name."""
        lead = vector.shape[:-1]
        parts = vector.split(self.sizes, dim=-1)
        triples = zip(self.names, self.shapes, parts, strict=True)
        return {name: part.reshape(*lead, *shape) for name, shape, part in triples}


def readable(size: float) -> str:
    """Bytes in words.

    >>> readable(4_188_678_400)
    '4.19 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
