"""A cut: which entries of one tensor remain, taken out and written back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError


class Cut(ABC):
    """From a full tensor to the part that remains, and back."""

    shape: torch.Size
    """Of the full tensor."""

    @property
    @abstractmethod
    def small(self) -> torch.Size:
        """Shape of the part that remains."""

    @abstractmethod
    def take(self, full: Tensor) -> Tensor:
        """The part that remains, in memory of its own."""

    @abstractmethod
    def put(self, part: Tensor, full: Tensor) -> None:
        """Write the part back into the full tensor, whose other entries stay."""


@final
@dataclass(frozen=True)
class Lines(Cut):
    """Whole lines remain: `kept[d]` are the indices along dimension d, ascending.

    >>> cut = Lines(torch.Size([2, 3]), {1: torch.tensor([0, 2])})
    >>> cut.take(torch.tensor([[1, 2, 3], [4, 5, 6]])).tolist()
    [[1, 3], [4, 6]]
    >>> full = torch.zeros(2, 3)
    >>> cut.put(torch.ones(2, 2), full); full.tolist()
    [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    """

    shape: torch.Size
    kept: Mapping[int, Tensor]

    @property
    def small(self) -> torch.Size:
        """Shape of the part that remains."""
        sizes = (len(self.kept[d]) if d in self.kept else size for d, size in enumerate(self.shape))
        return torch.Size(sizes)

    def take(self, full: Tensor) -> Tensor:
        """The part that remains, in memory of its own."""
        if full.is_sparse:
            return self._take_sparse(full)
        part = full
        for dim, index in sorted(self.kept.items()):
            part = part.index_select(dim, index.to(part.device))
        return _like(part, full)

    def put(self, part: Tensor, full: Tensor) -> None:
        """Write the part back into the full tensor, whose other entries stay."""
        if not full.is_contiguous():
            self._put_by_lines(part, full)
        elif max(self.kept) == 0:
            _put_rows(part.contiguous(), full, self.kept[0])
        elif max(self.kept) == 1:
            # Inputs, or both: one copy of all kernels (or of all entries) that remain.
            inner = max(self.shape[2:].numel(), 1)
            lines, values = full.view(-1, inner), part.reshape(-1, inner)
            if inner > 1:
                _put_rows(values.contiguous(), lines, self._pairs)
            else:
                full.view(-1).scatter_(0, self._pairs.to(full.device), part.reshape(-1))
        else:
            self._put_by_lines(part, full)

    def _put_by_lines(self, part: Tensor, full: Tensor) -> None:
        first, *rest = sorted(self.kept)
        index = self.kept[first].to(full.device)
        if not rest:
            full.index_copy_(first, index, part)
            return
        lines = full.index_select(first, index)
        Lines(lines.shape, {d: self.kept[d] for d in rest}).put(part, lines)
        full.index_copy_(first, index, lines)

    @cached_property
    def _pairs(self) -> Tensor:
        """Numbers of what remains in dimensions 0 and 1 together, row by row."""
        rows = self.kept.get(0, torch.arange(self.shape[0]))
        return (rows[:, None] * self.shape[1] + self.kept[1]).flatten()

    def widen_sparse(self, part: Tensor) -> Tensor:
        """A sparse tensor of the full shape, with nothing stored where entries are cut."""
        values = part._values()
        wide = values.new_zeros(len(values), *self.shape[part.sparse_dim() :])
        self._inner(part).put(values, wide)
        return torch.sparse_coo_tensor(
            part._indices(),
            wide,
            self.shape,
            check_invariants=True,
            is_coalesced=part.is_coalesced(),
        )

    def _take_sparse(self, full: Tensor) -> Tensor:
        values = self._inner(full).take(full._values())
        return torch.sparse_coo_tensor(
            full._indices(),
            values,
            self.small,
            check_invariants=True,
            is_coalesced=full.is_coalesced(),
        )

    def _inner(self, tensor: Tensor) -> Lines:
        """The same cut of the values of a sparse tensor, whose first dimension counts them."""
        shift = tensor.sparse_dim() - 1
        if any(dim <= shift for dim in self.kept):
            raise SetupError("the gradient is sparse along the dimension of the nodes")
        shape = torch.Size([len(tensor._values()), *self.shape[shift + 1 :]])
        return Lines(shape, {dim - shift: index for dim, index in self.kept.items()})


@final
@dataclass(frozen=True)
class Blocks(Cut):
    """Rows remain, each with columns of its own: weights of grouped convolutions.

    rows: (r,) indices along dimension 0; columns: (r, c) indices along dimension 1.
    """

    shape: torch.Size
    rows: Tensor
    columns: Tensor

    @property
    def small(self) -> torch.Size:
        """Shape of the part that remains."""
        return torch.Size([*self.columns.shape, *self.shape[2:]])

    @cached_property
    def _at(self) -> tuple[Tensor, Tensor]:
        return self.rows[:, None], self.columns

    def take(self, full: Tensor) -> Tensor:
        """The part that remains, in memory of its own."""
        rows, columns = self._at
        return _like(full[rows.to(full.device), columns.to(full.device)], full)

    def put(self, part: Tensor, full: Tensor) -> None:
        """Write the part back into the full tensor, whose other entries stay."""
        rows, columns = self._at
        full[rows.to(full.device), columns.to(full.device)] = part


def _put_rows(part: Tensor, full: Tensor, index: Tensor) -> None:
    """full[index] = part, both contiguous; on a CPU by NumPy, which copies rows as wholes."""
    if full.device.type != "cpu" or not part.numel():
        full.index_copy_(0, index.to(full.device), part)
        return
    rows, values = full.view(len(full), -1), part.view(len(part), -1)
    if not rows.shape[1]:
        return
    row = f"V{rows.shape[1] * rows.element_size()}"  # as many bytes as one
    whole = rows.view(torch.uint8).numpy().view(row)[:, 0]
    whole[index.numpy()] = values.view(torch.uint8).numpy().view(row)[:, 0]


def _like(part: Tensor, full: Tensor) -> Tensor:
    """The part in the memory format of the full tensor."""
    last = torch.channels_last
    if full.dim() == 4 and not full.is_contiguous() and full.is_contiguous(memory_format=last):
        return part.contiguous(memory_format=last)
    return part.contiguous()
