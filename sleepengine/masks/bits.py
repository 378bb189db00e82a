"""Packed masks: one bit per entry, little endian, in flat row-major order, padding bits zero.

Bit `i` of byte `j` is entry `8*j + i`. Every function returns a new tensor and leaves its
arguments as they were, so packed masks can be shared freely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_POPCOUNT = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
_HAS_BITWISE_COUNT = np.lib.NumpyVersion(np.__version__) >= "2.0.0"


def byte_length(numel: int) -> int:
    """ceil(numel / 8): bytes of a packed mask.

    >>> [byte_length(n) for n in (0, 1, 8, 9)]
    [0, 1, 1, 2]
    """
    return (numel + 7) // 8


def pack(mask: Tensor) -> Tensor:
    """Bit `i` of byte `j` = entry `8*j + i` of the mask in row-major order.

    Args:
        mask: bool tensor of any shape and any strides.

    Returns:
        uint8 tensor [ceil(n / 8)] on the mask's device.

    Raises:
        TypeError: the mask is not bool.

    >>> pack(torch.tensor([True, False, True, False, False, False, False, False, True])).tolist()
    [5, 1]
    """
    if mask.dtype != torch.bool:
        raise TypeError(f"pack needs a bool mask, got {mask.dtype}; write mask.bool()")
    flat = mask.detach().contiguous().view(-1)
    if flat.device.type == "cpu":
        return torch.from_numpy(np.packbits(flat.numpy().view(np.uint8), bitorder="little"))
    return _pack_torch(flat)


def unpack(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """The bool mask of that shape, contiguous; the inverse of `pack`.

    Raises:
        TypeError: the bits are not uint8.
        ValueError: the number of bytes does not fit the shape.

    >>> unpack(torch.tensor([5], dtype=torch.uint8), (3,)).tolist()
    [True, False, True]
    """
    numel = math.prod(shape)
    _check_length(bits, numel)
    if bits.device.type == "cpu":
        unpacked = np.unpackbits(_array(bits), count=numel, bitorder="little")
        return torch.from_numpy(unpacked.view(np.bool_)).view(tuple(shape))
    return _unpack_torch(bits, numel).view(tuple(shape))


def count(bits: Tensor) -> int:
    """Number of bits set (popcount), exact.

    >>> count(torch.tensor([255, 1, 0], dtype=torch.uint8))
    9
    """
    if bits.device.type != "cpu":
        table = torch.from_numpy(_POPCOUNT).to(bits.device)
        return int(table[bits.long()].sum(dtype=torch.int64))
    array = _array(bits)
    if not _HAS_BITWISE_COUNT:
        return int(_POPCOUNT[array].sum(dtype=np.int64))
    words, tail = _words(array)
    return int(
        np.bitwise_count(words).sum(dtype=np.int64) + np.bitwise_count(tail).sum(dtype=np.int64)
    )


def any_set(bits: Tensor) -> bool:
    """True when at least one bit is set.

    >>> any_set(torch.tensor([0, 4], dtype=torch.uint8)), any_set(empty(20))
    (True, False)
    """
    if bits.device.type != "cpu":
        return bool(bits.any())
    words, tail = _words(_array(bits))
    return bool(words.any()) or bool(tail.any())


def bit_and(a: Tensor, b: Tensor) -> Tensor:
    """Bits set in both: a AND b."""
    return torch.bitwise_and(a, b)


def bit_or(a: Tensor, b: Tensor) -> Tensor:
    """Bits set in either: a OR b."""
    return torch.bitwise_or(a, b)


def bit_xor(a: Tensor, b: Tensor) -> Tensor:
    """Bits that differ: a XOR b."""
    return torch.bitwise_xor(a, b)


def bit_andnot(a: Tensor, b: Tensor) -> Tensor:
    """Bits of `a` that `b` lacks: a AND NOT b.

    >>> bit_andnot(torch.tensor([7], dtype=torch.uint8), torch.tensor([2], dtype=torch.uint8))
    tensor([5], dtype=torch.uint8)
    """
    return torch.bitwise_not(b).bitwise_and_(a)


def bit_not(bits: Tensor, numel: int) -> Tensor:
    """NOT bits, with the padding bits kept zero.

    >>> bit_not(torch.tensor([5], dtype=torch.uint8), 3).tolist()
    [2]
    """
    _check_length(bits, numel)
    return _clear_padding(torch.bitwise_not(bits), numel)


def full(numel: int, device: torch.device | str | None = None) -> Tensor:
    """Packed mask of `numel` ones.

    >>> full(10).tolist()
    [255, 3]
    """
    ones = torch.full((byte_length(numel),), 255, dtype=torch.uint8, device=device)
    return _clear_padding(ones, numel)


def empty(numel: int, device: torch.device | str | None = None) -> Tensor:
    """Packed mask of `numel` zeros.

    >>> empty(10).tolist()
    [0, 0]
    """
    return torch.zeros(byte_length(numel), dtype=torch.uint8, device=device)


def padding_is_zero(bits: Tensor, numel: int) -> bool:
    """True when no bit beyond entry `numel - 1` is set.

    >>> padding_is_zero(torch.tensor([4], dtype=torch.uint8), 3)
    True
    >>> padding_is_zero(torch.tensor([8], dtype=torch.uint8), 3)
    False
    """
    used = numel % 8
    return used == 0 or int(bits[-1]) >> used == 0


def nonzero(bits: Tensor, numel: int) -> Tensor:
    """Flat indices of the bits set, ascending, int64.

    >>> nonzero(torch.tensor([5, 1], dtype=torch.uint8), 9).tolist()
    [0, 2, 8]
    """
    _check_length(bits, numel)
    if bits.device.type != "cpu":
        return _unpack_torch(bits, numel).nonzero().view(-1)
    array = _array(bits)
    rows = np.flatnonzero(array)
    if rows.size * 4 > array.size:
        return torch.from_numpy(np.flatnonzero(_bools(array)))
    inside = np.flatnonzero(_bools(array[rows]))
    return torch.from_numpy(rows[inside >> 3] * 8 + (inside & 7))


def _array(bits: Tensor) -> npt.NDArray[np.uint8]:
    return bits.detach().contiguous().numpy()


def _bools(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Eight bools per byte; numpy finds the set ones among bools far sooner than among bytes."""
    return np.unpackbits(array, bitorder="little").view(np.bool_)


def _words(array: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """The same bytes as 8-byte words and a tail shorter than a word."""
    whole = array.size // 8 * 8
    return array[:whole].view(np.uint64), array[whole:]


def _clear_padding(bits: Tensor, numel: int) -> Tensor:
    if numel % 8:
        bits[-1:].bitwise_and_((1 << numel % 8) - 1)
    return bits


def _check_length(bits: Tensor, numel: int) -> None:
    if bits.dtype != torch.uint8:
        raise TypeError(f"packed bits are uint8, got {bits.dtype}")
    if tuple(bits.shape) != (byte_length(numel),):
        raise ValueError(
            f"{numel} entries need packed bits of shape ({byte_length(numel)},), "
            f"got {tuple(bits.shape)}"
        )


def _pack_torch(flat: Tensor) -> Tensor:
    """`pack` by torch operations, for devices that numpy cannot see."""
    padded = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8))
    weights = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=flat.device)
    return (padded.view(-1, 8) * weights).sum(dim=1, dtype=torch.uint8)


def _unpack_torch(bits: Tensor, numel: int) -> Tensor:
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    spread = torch.bitwise_right_shift(bits[:, None], shifts).bitwise_and_(1)
    return spread.view(-1)[:numel].bool()
