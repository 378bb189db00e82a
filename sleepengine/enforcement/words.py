"""Packed bits as integer words of 0 and -1, in the width of a tensor's entries."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError

CHUNK = 1 << 19
"""Entries per pass on the CPU: the mask of one pass stays in the cache."""
CHUNK_CUDA = 1 << 24

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def word_dtype(dtype: torch.dtype) -> torch.dtype:
    """The integer type with the same number of bytes.

    Raises:
        SetupError: the type is complex or bool.

    >>> word_dtype(torch.bfloat16), word_dtype(torch.float32), word_dtype(torch.float64)
    (torch.int16, torch.int32, torch.int64)
    """
    if dtype.is_complex or dtype is torch.bool:
        raise SetupError(f"{dtype} tensors cannot be masked; valid: real numbers of 1 to 8 bytes")
    return _WORDS[dtype.itemsize]


@final
class Expander:
    """Packed bits -> integer words 0 and -1, a chunk at a time, in buffers that are used again.

    A byte is looked up in a table of 256 words of 8 signed bytes, then widened.
    """

    def __init__(self, device: torch.device | str = "cpu", chunk: int | None = None) -> None:
        self.device = torch.device(device)
        self.chunk = chunk or (CHUNK if self.device.type == "cpu" else CHUNK_CUDA)
        byte = torch.arange(256)
        table = -((byte[:, None] >> torch.arange(8)) & 1).to(torch.int8)
        self._table = table.contiguous().view(torch.int64).view(-1).to(self.device)
        self._index = torch.empty(0, dtype=torch.int32, device=self.device)
        self._bytes = torch.empty(0, dtype=torch.int64, device=self.device)
        self._wide: dict[torch.dtype, Tensor] = {}

    def words(self, bits: Tensor, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Words of entries start..stop: -1 where the bit is set, else 0; valid until the next call.

        >>> Expander().words(torch.tensor([5], dtype=torch.uint8), 0, 4, torch.int16).tolist()
        [-1, 0, -1, 0]
        """
        first, last = start // 8, (stop + 7) // 8
        count = last - first
        if self._index.numel() < count:
            room = max(count, min(self.chunk, 8 * bits.numel()) // 8 + 2)
            self._index = torch.empty(room, dtype=torch.int32, device=self.device)
            self._bytes = torch.empty(room, dtype=torch.int64, device=self.device)
        index = self._index[:count].copy_(bits[first:last])
        torch.index_select(self._table, 0, index, out=self._bytes[:count])
        narrow = self._bytes[:count].view(torch.int8)[start - 8 * first : stop - 8 * first]
        if dtype is torch.int8:
            return narrow
        wide = self._wide.get(dtype)
        if wide is None or wide.numel() < stop - start:
            room = 8 * self._index.numel()
            wide = self._wide[dtype] = torch.empty(room, dtype=dtype, device=self.device)
        return wide[: stop - start].copy_(narrow)
