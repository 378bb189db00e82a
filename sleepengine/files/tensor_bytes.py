"""Tensors as the file keeps them: dense, on the CPU, each with its own memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Kept under their own dtype, which every version of safetensors knows. Others are kept as bytes.
_NATIVE = frozenset(
    {
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool,
    }
)  # fmt: skip
_AS_BYTES = frozenset(
    {
        torch.complex32, torch.complex64, torch.complex128, torch.uint16, torch.uint32,
        torch.uint64, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2,
        torch.float8_e5m2fnuz, torch.float8_e8m0fnu,
    }
)  # fmt: skip
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _NATIVE | _AS_BYTES}


def is_dense(tensor: Tensor) -> bool:
    """Whether the tensor has values in ordinary memory and a dtype that can be kept."""
    return (
        tensor.layout is torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_nested
        and tensor.dtype in _DTYPES.values()
    )


def pack(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU; dtypes that are not native become a line of bytes.

    >>> pack(torch.tensor([1 + 0j], dtype=torch.complex64)).shape
    torch.Size([8])
    """
    plain = tensor.detach().resolve_conj().resolve_neg().cpu()
    copy = torch.empty(plain.shape, dtype=plain.dtype).copy_(plain)
    return copy if copy.dtype in _NATIVE else copy.reshape(-1).view(torch.uint8)


def unpack(kept: Tensor, dtype: str, shape: list[Any]) -> Tensor:
    """The tensor that `pack` was given.

    Raises:
        ValueError: the dtype is unknown or is not what the file keeps, or the shape differs.

    >>> unpack(pack(torch.tensor([2 + 1j])), "complex64", [1])
    tensor([2.+1.j])
    """
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}")
    wanted = _DTYPES[dtype]
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"the shape {shape} is not a list of sizes")
    if wanted in _NATIVE:
        if kept.dtype is not wanted or list(kept.shape) != shape:
            raise ValueError(f"expected {dtype} {shape}, found {kept.dtype} {list(kept.shape)}")
        return kept
    count = math.prod(shape)
    if kept.dtype is not torch.uint8 or kept.shape != (count * wanted.itemsize,):
        raise ValueError(f"expected the bytes of {dtype} {shape}, found {list(kept.shape)}")
    return kept.view(wanted).reshape(shape) if count else torch.empty(shape, dtype=wanted)
