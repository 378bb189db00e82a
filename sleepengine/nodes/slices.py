"""A slice: which entries of one tensor belong to which node of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError


@final
@dataclass(frozen=True)
class Slice:
    """Node i owns the indices start + i stride ... start + i stride + repeat - 1 along `dim`.

    Args:
        param: name of a parameter or buffer.
        dim: the dimension that counts the nodes, never negative.
        start: index of node 0.
        stride: distance from one node to the next.
        repeat: indices of each node (a flattened map of h w places: stride = repeat = h w).
        groups: of a grouped convolution: dimension 1 is counted anew in each of that many equal
            blocks of dimension 0, so index c is column c % n in block c // n, with n columns.
        index: the indices of every node written out, in place of start, stride and repeat.

    Raises:
        SetupError: a number is out of range.

    >>> Slice("fc2.weight", dim=1).mask(torch.tensor([False, True]), (2, 2)).tolist()
    [[False, True], [False, True]]
    >>> Slice("w", dim=1, stride=2, repeat=2).mask(torch.tensor([False, True]), (1, 4)).tolist()
    [[False, False, True, True]]
    """

    param: str
    dim: int = 0
    start: int = 0
    stride: int = 1
    repeat: int = 1
    groups: int = 1
    index: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        for label, least in (("dim", 0), ("start", 0), ("stride", 1), ("repeat", 1), ("groups", 1)):
            value = getattr(self, label)
            if type(value) is not int or value < least:
                raise SetupError(
                    f"Slice({self.param!r}, {label}={value!r}): a whole number of at least {least}"
                )
        if self.groups > 1 and self.dim != 1:
            raise SetupError(f"Slice({self.param!r}, groups={self.groups}) needs dim=1")
        if self.index is not None:
            object.__setattr__(self, "index", tuple(tuple(int(k) for k in i) for i in self.index))

    def pairs(self, size: int) -> tuple[Tensor, Tensor]:
        """(node, index) of everything owned, for a group of `size` nodes; both 1-D, by node.

        Nobody writes into them: they are kept.
        """
        if self.index is not None:
            owners = [i for i, own in enumerate(self.index) for _ in own]
            places = [k for own in self.index for k in own]
            return torch.tensor(owners, dtype=torch.long), torch.tensor(places, dtype=torch.long)
        return _pairs(self.start, self.stride, self.repeat, size)

    def length(self, shape: Sequence[int]) -> int:
        """How many indices there are along the dimension of a tensor of that shape."""
        return shape[self.dim] * self.groups

    def check(self, size: int, shape: Sequence[int], owner: str) -> None:
        """The slice fits a group of `size` nodes and a tensor of that shape.

        Raises:
            SetupError: it does not.
        """
        said = f"{owner}: {self.param!r} of shape {tuple(shape)}"
        if self.dim >= len(shape):
            raise SetupError(f"{said} has no dimension {self.dim}")
        if shape[0] % self.groups:
            raise SetupError(f"{said} does not divide into groups={self.groups}")
        if self.index is not None and len(self.index) != size:
            raise SetupError(f"{said}: index= lists {len(self.index)} nodes, the group has {size}")
        at = self.pairs(size)[1]
        if at.numel() and not 0 <= int(at.min()) <= int(at.max()) < self.length(shape):
            raise SetupError(
                f"{said}: {size} nodes need the indices {int(at.min())} to {int(at.max())} of "
                f"dimension {self.dim}, which has {self.length(shape)}"
            )

    def mask(self, nodes: Tensor, shape: Sequence[int]) -> Tensor:
        """True at the entries that belong to a chosen node: bool (size,) -> bool of `shape`."""
        owners, at = self.pairs(nodes.numel())
        hit = torch.zeros(self.length(shape), dtype=torch.bool, device=nodes.device)
        hit[at.to(nodes.device)[nodes[owners.to(nodes.device)]]] = True
        if self.groups == 1:
            sides = [1] * len(shape)
            sides[self.dim] = shape[self.dim]
            return hit.view(sides).expand(*shape).contiguous()
        rows = hit.view(self.groups, shape[1]).repeat_interleave(shape[0] // self.groups, 0)
        return rows.view(shape[0], shape[1], *[1] * (len(shape) - 2)).expand(*shape).contiguous()

    def gather(self, values: Tensor, size: int) -> list[Tensor] | Tensor:
        """The entries of each node: (size, n), or a list of 1-D tensors where n differs."""
        if self.groups == 1:
            lines = values.movedim(self.dim, 0).reshape(values.shape[self.dim], -1)
        else:
            blocks = values.reshape(self.groups, -1, values.shape[1], values[0, :1].numel())
            lines = blocks.transpose(1, 2).reshape(self.length(values.shape), -1)
        owners, at = self.pairs(size)
        own = lines[at.to(values.device)]
        counts = owners.bincount(minlength=size).tolist()
        if len(set(counts)) == 1:
            return own.reshape(size, -1)
        return [part.reshape(-1) for part in own.split(counts)]


@lru_cache(maxsize=256)
def _pairs(start: int, stride: int, repeat: int, size: int) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # plain tensors, whoever asks first
        nodes = torch.arange(size, device="cpu").repeat_interleave(repeat)
        return nodes, start + nodes * stride + torch.arange(repeat, device="cpu").repeat(size)


def gathered(slices: Sequence[Slice], values: Sequence[Tensor], size: int) -> list[Tensor] | Tensor:
    """All entries of each node over several slices: (size, n), or a list where n differs."""
    parts = [one.gather(value, size) for one, value in zip(slices, values, strict=True)]
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat([part for part in parts if isinstance(part, Tensor)], 1)
    return [torch.cat([part[i] for part in parts]) for i in range(size)]
