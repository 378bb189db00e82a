"""Masks as integer AND on the bit pattern: cleared entries become exactly +0.0, the rest is kept.

Multiplying by a mask would write -0.0 over negative numbers and NaN over inf; an AND does neither,
costs the same whatever the share asleep, and needs one bit per weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import c_int64, c_void_p
from typing import final

import torch
from torch import Tensor

from sleepengine.enforcement.pieces import and_sparse_, pieces
from sleepengine.enforcement.words import Expander, word_dtype
from sleepengine.masks.bits import bit_not, byte_length, full
from sleepengine.masks.native import covers, fits, native, written

CACHED_BELOW = 1 << 18
"""Tensors smaller than this keep their mask expanded (4 bytes per weight), unless lean."""

_PLAIN = (Tensor, torch.nn.Parameter)
_STRIDED = torch.strided
_increment = torch.autograd.graph.increment_version


@final
class AndMask:
    """Which entries of one tensor are kept, ready to be applied with `and_`.

    Args:
        keep: packed bits, set where entries are kept; None with `drop`.
        like: a tensor of the shape, type, device and strides that will be masked.
        expander: buffers to share; its device must be the tensor's.
        lean: never keep the mask expanded.
        drop: the opposite of `keep`, when somebody holds these bits in any case.

    Raises:
        SetupError: the tensor is complex.
    """

    __slots__ = (
        "_drop",
        "_keep",
        "address",
        "count",
        "direct",
        "dtype",
        "expander",
        "numel",
        "shape",
        "width",
        "words",
    )

    def __init__(
        self,
        keep: Tensor | None,
        like: Tensor,
        expander: Expander,
        *,
        lean: bool = False,
        drop: Tensor | None = None,
    ) -> None:
        self.dtype = word_dtype(like.dtype)
        self.width = like.element_size()
        self._keep = None if keep is None else keep.to(like.device)
        self._drop = None if drop is None else drop.to(like.device)
        self.shape = like.shape
        self.expander = expander
        self.words: Tensor | None = None
        self.numel = like.numel()
        compiled, strided = native(), like.layout is torch.strided
        given = self.bits if self._drop is None else self._drop
        # Arguments of the compiled function as it takes them: converted once, not in every step.
        self.address, self.count = c_void_p(given.data_ptr()), c_int64(self.numel)
        self.direct = None
        if compiled is not None and fits(given) and byte_length(self.numel) == len(given):
            functions = compiled.and_ if self._drop is None else compiled.clear
            self.direct = functions[like.element_size()]
        if self.direct is not None and strided and like.is_contiguous():
            return  # the packed bits are as fast
        if self.direct is None:
            self._keep, self._drop = self.bits, None
        if not lean and like.numel() < CACHED_BELOW and strided:
            words = expander.words(self.bits, 0, like.numel(), self.dtype).view(self.shape)
            self.words = torch.empty_like(like, dtype=self.dtype, requires_grad=False).copy_(words)

    @property
    def bits(self) -> Tensor:
        """Packed bits, set where entries are kept."""
        if self._keep is None and self._drop is not None:
            return bit_not(self._drop, self.numel)
        return self._keep if self._keep is not None else full(self.numel)

    @property
    def nbytes(self) -> int:
        """Bytes of its own: packed bits, and the expanded mask if one is kept."""
        own = [kept for kept in (self._keep, self.words) if kept is not None]
        return sum(kept.numel() * kept.element_size() for kept in own)


def and_(tensor: Tensor, mask: AndMask) -> None:
    """X = X AND mask, in place: +0.0 where the mask is clear, every other bit untouched.

    Sparse COO tensors keep their indices; entries of masked positions become +0.0.

    >>> w = torch.tensor([1.0, float("inf"), -2.0])
    >>> and_(w, AndMask(torch.tensor([4], dtype=torch.uint8), w, Expander()))
    >>> w.tolist()
    [0.0, 0.0, -2.0]
    """
    direct = mask.direct
    if (  # `_is_of` in full: this is asked for every masked tensor in every step
        direct is not None
        and type(tensor) in _PLAIN
        and tensor.layout is _STRIDED
        and tensor.is_cpu
        and tensor.numel() == mask.numel
        and tensor.element_size() == mask.width
        and tensor.is_contiguous()
    ):
        direct(tensor.data_ptr(), mask.address, mask.count)
        _increment((tensor,))
        return
    if tensor.layout is not _STRIDED:
        and_sparse_(tensor, mask.bits)
        return
    if mask.words is not None and tensor.element_size() == mask.words.element_size():
        tensor.detach().view(mask.dtype).bitwise_and_(mask.words)
        return
    dtype = word_dtype(tensor.dtype)
    bits = mask.bits
    for start, piece in pieces(tensor.detach().view(dtype), mask.expander.chunk):
        words = mask.expander.words(bits, start, start + piece.numel(), dtype)
        piece.bitwise_and_(words.view(piece.shape))


def _is_of(tensor: Tensor, mask: AndMask) -> bool:
    """Whether compiled functions may write the tensor through the mask; asked in every step."""
    return (
        type(tensor) in _PLAIN
        and tensor.is_cpu
        and tensor.is_contiguous()
        and tensor.numel() == mask.numel
        and tensor.element_size() == mask.width
    )


def restore_(tensor: Tensor, keep: AndMask, saved: Tensor) -> None:
    """(tensor AND keep) OR saved, in place; `saved` is zero where entries are kept."""
    compiled = native() if keep.direct is not None and keep._drop is None else None
    if compiled is not None and _is_of(tensor, keep) and _is_of(saved, keep):
        compiled.restore[keep.width](tensor.data_ptr(), keep.address, saved.data_ptr(), keep.numel)
        written(tensor)
        return
    and_(tensor, keep)
    dtype = word_dtype(tensor.dtype)
    tensor.detach().view(dtype).bitwise_or_(saved.detach().view(dtype))


def fill_where_(tensor: Tensor, bits: Tensor, value: float, expander: Expander) -> None:
    """tensor[bits] = value where the bit is set, in place.

    >>> v = torch.tensor([3.0, 4.0])
    >>> fill_where_(v, torch.tensor([2], dtype=torch.uint8), 1.0, Expander())
    >>> v.tolist()
    [3.0, 1.0]
    """
    dtype = word_dtype(tensor.dtype)
    pattern = int(torch.tensor(value, dtype=tensor.dtype).view(dtype))
    compiled = native()
    if compiled is not None and covers(bits, tensor):
        at, width = bits.data_ptr(), dtype.itemsize
        compiled.fill[width](tensor.data_ptr(), at, tensor.numel(), pattern)
        written(tensor)
        return
    for piece, words in _masked(tensor, bits, expander):
        if pattern:
            piece.bitwise_or_(words)  # all ones where set, and then cleared down to the pattern
            words.bitwise_not_().bitwise_or_(pattern)
        else:
            words.bitwise_not_()
        piece.bitwise_and_(words)


def copy_where_(tensor: Tensor, source: Tensor, bits: Tensor, expander: Expander) -> None:
    """tensor[bits] = source[bits], bit for bit, in place; both of one shape and type."""
    compiled = native()
    if compiled is not None and covers(bits, tensor, source) and source.dtype is tensor.dtype:
        move, n = compiled.move[tensor.element_size()], tensor.numel()
        move(source.data_ptr(), tensor.data_ptr(), bits.data_ptr(), n, 0)
        written(tensor)
        return
    other = source.detach().view(word_dtype(source.dtype))
    flat = other.contiguous().view(-1)
    at = 0
    for piece, words in _masked(tensor, bits, expander):
        new = flat[at : at + piece.numel()].view(piece.shape)
        piece.bitwise_xor_(torch.bitwise_xor(piece, new).bitwise_and_(words))
        at += piece.numel()


def nonzero_where(tensor: Tensor, bits: Tensor, expander: Expander) -> int:
    """How many entries whose bit is set are not exactly +0.0 (so -0.0 counts).

    >>> w = torch.tensor([1.0, -0.0, 0.0])
    >>> nonzero_where(w, torch.tensor([6], dtype=torch.uint8), Expander())
    1
    """
    compiled = native()
    if compiled is not None and covers(bits, tensor):
        count = compiled.nonzero[tensor.element_size()]
        return int(count(tensor.data_ptr(), bits.data_ptr(), tensor.numel()))
    found = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for piece, words in _masked(tensor, bits, expander):
        found += words.bitwise_and_(piece).count_nonzero()
    return int(found)


def differs_where(a: Tensor, b: Tensor, bits: Tensor, expander: Expander) -> int:
    """How many entries whose bit is set have different bit patterns in `a` and `b`."""
    found = torch.zeros((), dtype=torch.int64, device=a.device)
    flat = b.detach().view(word_dtype(b.dtype)).contiguous().view(-1)
    at = 0
    for piece, words in _masked(a, bits, expander):
        other = flat[at : at + piece.numel()].view(piece.shape)
        found += words.bitwise_and_(torch.bitwise_xor(piece, other)).count_nonzero()
        at += piece.numel()
    return int(found)


def _masked(tensor: Tensor, bits: Tensor, expander: Expander) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of the tensor as integers, each with its words, in row-major order."""
    dtype = word_dtype(tensor.dtype)
    bits = bits.to(tensor.device)
    for start, piece in pieces(tensor.detach().view(dtype), expander.chunk):
        words = expander.words(bits, start, start + piece.numel(), dtype)
        yield piece, words.view(piece.shape)
