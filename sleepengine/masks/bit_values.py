"""Values at packed bits, moved bit for bit: signs of zero and NaN payloads survive.

Floats are handled through the integer view of the same width, with AND, OR and XOR only, in chunks
with small reused buffers. A few entries of a large tensor are moved by index instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.masks import bits as packed
from sleepengine.masks.native import covers, fits, native, written

_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# A chunk of entries and its buffers stay in the second-level cache of a core.
_CHUNK = {"cpu": 1 << 16}
_CHUNK_ELSEWHERE = 1 << 24
# Below one entry in so many, an index is cheaper than a pass over everything.
_FEW = 24


def integer_view(tensor: Tensor) -> Tensor:
    """The same memory as integers of the same width, cut off from autograd.

    Raises:
        SetupError: the tensor is complex or not strided.

    >>> integer_view(torch.tensor([-0.0, 1.0])).tolist()
    [-2147483648, 1065353216]
    """
    if tensor.is_complex():
        raise SetupError(
            f"complex tensors ({tensor.dtype}) cannot be parked; park torch.view_as_real(...) of "
            "the parameter, or leave it out of params="
        )
    if tensor.layout != torch.strided:
        raise SetupError(f"only strided tensors can be parked, got {tensor.layout}")
    return tensor.detach().view(_INTEGER[tensor.element_size()])


def clear_(tensor: Tensor, bits: Tensor) -> None:
    """tensor[bits] = +0.0 in place; the other entries keep every bit.

    Args:
        tensor: any shape and strides, any real dtype.
        bits: packed bits in row-major order, on the tensor's device.

    >>> w = torch.tensor([-1.0, 2.0, float("nan")])
    >>> clear_(w, torch.tensor([5], dtype=torch.uint8)); w.tolist()
    [0.0, 2.0, 0.0]
    """
    view = integer_view(tensor)
    check_bits(bits, view.numel())
    compiled = native()
    if compiled is not None and covers(bits, tensor):
        at, width = bits.data_ptr(), tensor.element_size()
        compiled.fill[width](tensor.data_ptr(), at, tensor.numel(), 0)
        written(tensor)
        return
    flat = row_major(view)
    if _few(bits, flat.numel()):
        flat.index_fill_(0, packed.nonzero(bits, flat.numel()), 0)
    else:
        for start, stop, mask in _masks(bits, flat):
            flat[start:stop].bitwise_and_(mask.bitwise_not_())
    write_back(view, flat)


def gather(flat: Tensor, bits: Tensor) -> Tensor:
    """Entries of a flat tensor at the bits, in flat index order."""
    values = flat.new_empty(packed.count(bits))
    compiled = native()
    if compiled is not None and covers(bits, flat):
        take = compiled.gather[flat.element_size()]
        take(flat.data_ptr(), bits.data_ptr(), flat.numel(), *_ends(values))
        return values
    for start, stop, index, taken in _indices(bits, flat):
        torch.index_select(flat[start:stop], 0, index, out=values[taken : taken + len(index)])
    return values


def scatter_(flat: Tensor, bits: Tensor, values: Tensor) -> None:
    """flat[bits] = values, given in flat index order; the reverse of `gather`."""
    compiled = native()
    if compiled is not None and covers(bits, flat) and fits(values):
        give = compiled.scatter[flat.element_size()]
        give(flat.data_ptr(), bits.data_ptr(), flat.numel(), *_ends(values))
        written(flat)
        return
    for start, stop, index, taken in _indices(bits, flat):
        flat[start:stop].scatter_(0, index, values[taken : taken + len(index)])


def _ends(values: Tensor) -> tuple[int, int]:
    """Address of the first value, and one past the last."""
    return values.data_ptr(), values.data_ptr() + values.numel() * values.element_size()


def places(part: Tensor, whole: Tensor, numel: int) -> Tensor:
    """Where the entries of `part` stand among those of `whole`, both packed, `part` within `whole`.

    >>> places(torch.tensor([4], dtype=torch.uint8), torch.tensor([7], dtype=torch.uint8), 3)
    tensor([2])
    """
    inside = packed.unpack(part, (numel,))[packed.unpack(whole, (numel,))]
    return packed.nonzero(packed.pack(inside), inside.numel())


def move_(
    source: Tensor, target: Tensor, bits: Tensor, *, clear_source: bool, target_is_zero: bool
) -> None:
    """target[bits] = source[bits], then source[bits] = 0 if asked; flat integer tensors.

    Args:
        source: flat contiguous integer tensor.
        target: the same, of the same dtype, length and device.
        bits: packed bits, on that device.
        clear_source: leave zero bits in the source.
        target_is_zero: the target's entries at the bits are known to be zero bits.
    """
    compiled = native()
    if compiled is not None and covers(bits, source, target):
        move, n = compiled.move[source.element_size()], source.numel()
        move(source.data_ptr(), target.data_ptr(), bits.data_ptr(), n, int(clear_source))
        written(target)
        if clear_source:
            written(source)
        return
    if _few(bits, source.numel()):
        index = packed.nonzero(bits, source.numel())
        target.index_copy_(0, index, source.index_select(0, index))
        if clear_source:
            source.index_fill_(0, index, 0)
        return
    moved = torch.empty(_chunk(source), dtype=source.dtype, device=source.device)
    for start, stop, mask in _masks(bits, source):
        here, there = source[start:stop], target[start:stop]
        values = torch.bitwise_and(here, mask, out=moved[: stop - start])
        if clear_source:
            here.bitwise_xor_(values)
        if not target_is_zero:
            there.bitwise_and_(mask.bitwise_not_())
        there.bitwise_or_(values)


def move_to_new_(source: Tensor, bits: Tensor, *, clear_source: bool) -> Tensor:
    """A new tensor with source[bits] and zero bits elsewhere; then source[bits] = 0 if asked."""
    target = torch.empty_like(source)
    compiled = native()
    if compiled is not None and covers(bits, source, target):
        split, n = compiled.split[source.element_size()], source.numel()
        split(source.data_ptr(), target.data_ptr(), bits.data_ptr(), n, int(clear_source))
        if clear_source:
            written(source)
        return target
    for start, stop, mask in _masks(bits, source):
        here, there = source[start:stop], target[start:stop]
        torch.bitwise_and(here, mask, out=there)
        if clear_source:
            here.bitwise_xor_(there)
    return target


def row_major(view: Tensor) -> Tensor:
    """The tensor as one flat row-major dimension: the same memory where that is possible."""
    return view.contiguous().view(-1)


def write_back(view: Tensor, flat: Tensor) -> None:
    """Bring changes of `row_major(view)` home, where that was a copy."""
    if not view.is_contiguous():
        view.copy_(flat.view(view.shape))


def check_bits(bits: Tensor, numel: int) -> None:
    """Packed bits of that many entries.

    Raises:
        SetupError: another dtype or length.
    """
    if bits.dtype != torch.uint8 or tuple(bits.shape) != (packed.byte_length(numel),):
        raise SetupError(
            f"{numel} entries need {packed.byte_length(numel)} bytes of packed uint8 bits, "
            f"got {bits.dtype} of shape {tuple(bits.shape)}"
        )


def _few(bits: Tensor, numel: int) -> bool:
    return packed.count(bits) * _FEW < numel


def _chunk(flat: Tensor) -> int:
    return min(_CHUNK.get(flat.device.type, _CHUNK_ELSEWHERE), flat.numel())


def _indices(bits: Tensor, flat: Tensor) -> Iterator[tuple[int, int, Tensor, int]]:
    """(start, stop, indices from start, how many came before) for every chunk with a bit set."""
    numel, size, taken = flat.numel(), 8 * _chunk(flat), 0
    for start in range(0, numel, max(size, 8)):
        stop = min(start + size, numel)
        few = bits[start // 8 : packed.byte_length(stop)]
        if packed.any_set(few):
            index = packed.nonzero(few, stop - start)
            yield start, stop, index, taken
            taken += len(index)


def _masks(bits: Tensor, flat: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """(start, stop, mask) for every chunk: all bits of an integer set where the entry is chosen.

    The mask is one buffer, filled anew for every chunk, so it may be written into.
    """
    numel, size = flat.numel(), _chunk(flat)
    table = _table(bits.device)
    mask = torch.empty(size, dtype=flat.dtype, device=flat.device)
    for start in range(0, numel, max(size, 1)):
        stop = min(start + size, numel)
        few = bits[start // 8 : packed.byte_length(stop)]
        eight = table.index_select(0, few.to(torch.int32)).view(torch.int8)
        yield start, stop, mask[: stop - start].copy_(eight[: stop - start])


def _table(device: torch.device) -> Tensor:
    """Byte -> eight int8 of 0 or -1, read as one int64."""
    every = np.arange(256, dtype=np.uint8)[:, None]
    eight = -np.unpackbits(every, axis=1, bitorder="little").astype(np.int8)
    return torch.from_numpy(eight.view(np.int64).reshape(256)).to(device)
