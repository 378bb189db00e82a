"""How an inverse is laid out in tensors by name, and whether it fits in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from saliency.curvature.blocks import at_once
from saliency.curvature.flat import Layout, readable
from saliency.curvature.request import positive_int

DEFAULT_MEMORY = 2 << 30


def check_arguments(owner: str, block: object, damping: object, memory: object) -> None:
    """Raise unless block is None or positive, damping 0 or more and memory positive."""
    if block is not None:
        positive_int(owner, "block", block)
    positive_int(owner, "memory", memory)
    if isinstance(damping, bool) or not isinstance(damping, (int, float)):
        raise TypeError(f"{owner}(damping={damping!r}): damping must be a number.")
    if not (math.isfinite(damping) and damping >= 0):
        raise ValueError(f"{owner}(damping={damping!r}): damping must be finite and 0 or more.")


def positive_damping(owner: str, damping: float) -> None:
    """Raise ValueError unless damping is above 0: a sum of few outer products has no inverse."""
    if damping == 0:
        raise ValueError(f"{owner}(damping={damping!r}): damping must be above 0.")


def check_memory(owner: str, block: int | None, params: Mapping[str, Tensor], memory: int) -> None:
    """Raise ValueError if the blocks exceed `memory` bytes; says which size would fit.

    >>> check_memory("InverseFisher", None, {"w": torch.zeros(32360)}, 1 << 30)
    Traceback (most recent call last):
    ValueError: InverseFisher: one dense inverse of 32360 weights takes 8.38 GB, and memory= \
allows 1.07 GB. Up to 11585 weights fit dense; here block=8295 or less fits.
    """
    size = sum(p.numel() for p in params.values())
    if block is None:
        needed, each = 8 * size * size, 8
    else:
        each = max(width_dtype(p).itemsize for p in params.values())
        needed = each * size * block
    if needed <= memory:
        return
    each = max(width_dtype(p).itemsize for p in params.values())
    fits = memory // (each * size)
    remedy = f"block={fits} or less fits" if fits else f"give memory={each * size} for block=1"
    if block is None:
        raise ValueError(
            f"{owner}: one dense inverse of {size} weights takes {readable(needed)}, and memory= "
            f"allows {readable(memory)}. Up to {math.isqrt(memory // 8)} weights fit dense; "
            f"here {remedy}."
        )
    raise ValueError(
        f"{owner}(block={block}): blocks of {size} weights take {readable(needed)}, and memory= "
        f"allows {readable(memory)}; {remedy}."
    )


def width_dtype(tensor: Tensor) -> torch.dtype:
    """float64 stays; everything shorter becomes float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def stored_dense(layout: Layout, matrix: Tensor) -> dict[str, Tensor]:
    """Rows [numel, size] of the matrix by name."""
    return dict(zip(layout.names, matrix.split(layout.sizes), strict=True))


def block_width(numel: int, block: int) -> int:
    """No block is wider than its parameter."""
    return min(block, max(numel, 1))


def in_blocks(rows: Tensor, block: int) -> Tensor:
    """[r, numel] as [k, r, B]; the last block is padded with 0.

    >>> in_blocks(torch.arange(1.0, 4.0)[None], 2)
    tensor([[[1., 2.]],
    <BLANKLINE>
            [[3., 0.]]])
    """
    width = block_width(rows.shape[1], block)
    count = -(-rows.shape[1] // width)
    short = count * width - rows.shape[1]
    padded = torch.nn.functional.pad(rows, (0, short)) if short else rows
    return padded.unflatten(1, (count, width)).transpose(0, 1)


def inverted(owner: str, matrix: Tensor, damping: float, what: str, remedy: str) -> Tensor:
    """The inverse of symmetric positive definite blocks [k, B, B], which it overwrites.

    Raises:
        ValueError: A block is not positive definite; names its smallest eigenvalue, the damping
            that would do, and another `remedy`.
    """
    for some in matrix.split(at_once(matrix)):
        factor, failed = torch.linalg.cholesky_ex(some)
        if bool(failed.any()):
            raise ValueError(
                f"{owner}: {what} {_not_definite(some[failed > 0], damping)}, or {remedy}."
            )
        some.copy_(torch.cholesky_inverse(factor))
    return matrix


def _not_definite(blocks: Tensor, damping: float) -> str:
    values = torch.linalg.eigvalsh(blocks)
    lowest, highest = float(values.min()), float(values.max())
    rounding = torch.finfo(blocks.dtype).eps * highest * len(values[0])
    enough = damping + max(-lowest, rounding)
    return (
        f"is not positive definite, its smallest eigenvalue is {lowest:.3g}. "
        f"Raise damping above {enough:.3g}"
    )
