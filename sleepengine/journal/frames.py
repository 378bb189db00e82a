"""Masks as small byte strings: the packed bits of every plane, compressed by zlib.

A frame holds either all masks (XOR against a store where everything is awake) or a difference.
Frames and bit tensors are never written, only replaced, so they can be shared freely.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from sleepengine.errors import StateError
from sleepengine.masks.bits import any_set, bit_xor, byte_length
from sleepengine.masks.changes import MaskDelta
from sleepengine.masks.choice import Kind, Layer
from sleepengine.masks.store import MaskStore

Plane: TypeAlias = tuple[Kind, Layer, str]
Bits: TypeAlias = dict[Plane, Tensor]
Frame: TypeAlias = dict[Plane, bytes]

# Differences are nearly all zeros, which the fastest level already folds well.
_LEVEL = 1


def bits_of(store: MaskStore, nothing: MaskStore) -> Bits:
    """All bits set in a store, shared with it; `nothing` is an untouched store of its shapes.

    Raises:
        SetupError: the shapes differ.
    """
    delta = nothing.diff(store)
    return {
        (kind, layer, name): bits
        for (kind, layer), entries in delta.bits.items()
        for name, bits in entries.items()
    }


def store_of(bits: Mapping[Plane, Tensor], shapes: Mapping[str, torch.Size]) -> MaskStore:
    """A store on the CPU with exactly these bits."""
    grouped: dict[tuple[Kind, Layer], dict[str, Tensor]] = {}
    for (kind, layer, name), one in bits.items():
        grouped.setdefault((kind, layer), {})[name] = one
    store = MaskStore(shapes)
    store.apply_diff(MaskDelta(grouped))
    return store


def difference(old: Mapping[Plane, Tensor], new: Mapping[Plane, Tensor]) -> Bits:
    """Bits that differ, plane by plane; a tensor that is shared costs nothing to compare."""
    found: Bits = {}
    for plane in [*old, *(p for p in new if p not in old)]:
        left, right = old.get(plane), new.get(plane)
        if left is right:
            continue
        if left is None or right is None:
            only = right if left is None else left
            if only is not None:
                found[plane] = only
            continue
        bits = bit_xor(left.to(right.device), right)
        if any_set(bits):
            found[plane] = bits
    return found


def compress(bits: Tensor) -> bytes:
    """The packed bits as a zlib stream."""
    # Masks hold runs or nothing to match: looking for runs alone is faster, and no larger.
    packer = zlib.compressobj(_LEVEL, strategy=zlib.Z_RLE)
    return packer.compress(bits.cpu().contiguous().numpy().tobytes()) + packer.flush()


def expand(stream: bytes, plane: Plane, shapes: Mapping[str, torch.Size]) -> Tensor:
    """The packed bits of a zlib stream, on the CPU; the inverse of `compress`.

    Raises:
        StateError: the stream is damaged, or its length does not fit the parameter.
    """
    kind, layer, name = plane
    length = byte_length(shapes[name].numel())
    where = f"the journal's {kind.value} {layer.value} of {name!r}"
    reader = zlib.decompressobj()
    try:
        # One byte more than fits, so that a stream of the wrong length cannot fill the memory.
        raw = bytearray(reader.decompress(stream, length + 1))
    except zlib.error as error:
        raise StateError(f"{where} are damaged: {error}") from None
    if len(raw) != length or not reader.eof:
        raise StateError(f"{where} do not hold {length} bytes")
    return torch.frombuffer(raw, dtype=torch.uint8)


def xor_frame(bits: Bits, frame: Frame, shapes: Mapping[str, torch.Size]) -> None:
    """XOR a frame into a dict of bits: the dict changes, its tensors do not."""
    for plane, stream in frame.items():
        change = expand(stream, plane, shapes)
        old = bits.get(plane)
        new = change if old is None else bit_xor(old.to(change.device), change)
        if any_set(new):
            bits[plane] = new
        else:
            bits.pop(plane, None)
