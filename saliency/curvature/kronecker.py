"""A curvature as Kronecker products, one per weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


@final
@dataclass(frozen=True, eq=False)
class KroneckerFactors:
    """F = G (x) A for each weight [out, *in], flattened row-major.

    Attributes:
        inputs: A [in, in] by name.
        outputs: G [out, out] by name.
        shapes: The weights' shapes.

    >>> factors = KroneckerFactors(
    ...     {"w": torch.eye(2)}, {"w": torch.tensor([[3.0]])}, {"w": torch.Size([1, 2])}
    ... )
    >>> factors.times({"w": torch.tensor([[1.0, 2.0]])})
    {'w': tensor([[3., 6.]])}
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    shapes: Mapping[str, torch.Size]

    def diagonal(self) -> dict[str, Tensor]:
        """G_ii A_jj in the weights' shapes."""
        return {
            name: torch.outer(self.outputs[name].diagonal(), self.inputs[name].diagonal()).reshape(
                shape
            )
            for name, shape in self.shapes.items()
        }

    def dense(self, name: str) -> Tensor:
        """The whole matrix of one weight, [numel, numel]."""
        return torch.kron(self.outputs[name], self.inputs[name])

    def times(self, vector: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """F v = G v A by name."""
        return {
            name: (self.outputs[name] @ vector[name].flatten(1) @ self.inputs[name]).reshape(shape)
            for name, shape in self.shapes.items()
        }

    def solve(self, vector: Mapping[str, Tensor], damping: float) -> dict[str, Tensor]:
        """(F + damping I)^-1 v, exact, through the eigenvectors of both factors.

        Raises:
            ValueError: `damping` is not above 0.
        """
        if not damping > 0:
            raise ValueError(f"solve(damping={damping!r}): damping must be above 0.")
        found = {}
        for name, shape in self.shapes.items():
            a, u = torch.linalg.eigh(self.inputs[name])
            g, v = torch.linalg.eigh(self.outputs[name])
            inner = v.T @ vector[name].flatten(1) @ u
            inner = inner / (torch.outer(g.clamp(min=0), a.clamp(min=0)) + damping)
            found[name] = (v @ inner @ u.T).reshape(shape)
        return found
