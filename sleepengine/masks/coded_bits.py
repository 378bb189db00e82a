"""Packed bits in fewer bytes: one byte that names the form, then zlib or the bits themselves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import StateError
from sleepengine.masks import bits as packed

_PLAIN, _ZLIB = 0, 1
_LEVEL = 6


def encode(bits: Tensor) -> Tensor:
    """Uint8 tensor on the CPU: the shorter of the bits themselves and their zlib stream.

    >>> encode(torch.zeros(1000, dtype=torch.uint8)).numel() < 30
    True
    >>> encode(torch.tensor([5, 1], dtype=torch.uint8)).tolist()
    [0, 5, 1]
    """
    raw = bits.cpu().contiguous().numpy().tobytes()
    stream = zlib.compress(raw, _LEVEL)
    form, body = (_ZLIB, stream) if len(stream) < len(raw) else (_PLAIN, raw)
    return torch.from_numpy(np.frombuffer(bytes([form]) + body, dtype=np.uint8).copy())


def decode(coded: Tensor, numel: int, where: str) -> Tensor:
    """The packed bits of `numel` entries.

    Raises:
        StateError: the form is unknown, or the bits are damaged or of another length.

    >>> decode(encode(torch.tensor([5, 1], dtype=torch.uint8)), 9, "here").tolist()
    [5, 1]
    """
    length = packed.byte_length(numel)
    raw = coded.numpy().tobytes()
    form, body = raw[:1], raw[1:]
    if form == bytes([_ZLIB]):
        reader = zlib.decompressobj()
        try:
            # One byte more than fits, so that a wrong stream cannot fill the memory.
            body = reader.decompress(body, length + 1)
        except zlib.error as error:
            raise StateError(f"{where}: damaged bits ({error})") from None
        if not reader.eof:
            raise StateError(f"{where}: the bits are cut short or too long")
    elif form != bytes([_PLAIN]):
        raise StateError(f"{where}: unknown form {list(form)} of coded bits")
    if len(body) != length:
        raise StateError(f"{where}: {len(body)} bytes of bits, {numel} entries need {length}")
    bits = torch.from_numpy(np.frombuffer(body, dtype=np.uint8).copy())
    if not packed.padding_is_zero(bits, numel):
        raise StateError(f"{where}: bits beyond entry {numel - 1} are set")
    return bits


def read_coded(entries: object, shapes: Mapping[str, torch.Size], where: str) -> dict[str, Tensor]:
    """Parameter -> coded bits of a saved state, each of them decoded once to be sure.

    Raises:
        StateError: a name, type or the bits do not fit.
    """
    if not isinstance(entries, Mapping):
        raise StateError(f"{where}: coded bits must be a dict, got {type(entries).__name__}")
    found: dict[str, Tensor] = {}
    for name, coded in entries.items():
        if name not in shapes:
            raise StateError(f"{where}: unknown parameter {name!r}")
        if not isinstance(coded, Tensor) or coded.dtype != torch.uint8 or coded.dim() != 1:
            raise StateError(f"{where}: the coded bits of {name!r} must be a 1-D uint8 tensor")
        found[name] = coded.detach().to("cpu", copy=True)
        decode(found[name], shapes[name].numel(), f"{where}, {name!r}")
    return found
