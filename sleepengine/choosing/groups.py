"""Groups of m consecutive inputs: a matrix view for any weight, and the lowest of each group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sleepengine.choosing.flat import CHUNK, common, plain
from sleepengine.choosing.rows import lowest_of_rows
from sleepengine.errors import SetupError
from sleepengine.masks.native import fits, native

# m (m - 1) / 2 comparisons per group beat a partition of tiny rows up to about here.
FEW = 8


def by_input(name: str, values: Tensor, m: int) -> Tensor:
    """The view (O, kernel positions, I) of a weight (O, I, ...), whose last side m must divide.

    Groups run along dimension 1 at each kernel position, the way sparse matrix units read them.

    >>> by_input("conv", torch.zeros(8, 4, 3, 3), 2).shape
    torch.Size([8, 9, 4])
    """
    if values.dim() < 2:
        raise SetupError(
            f"Groups of {m} inputs need 2 or more dimensions: {name!r} has shape "
            f"{tuple(values.shape)}."
        )
    if values.shape[1] % m:
        raise SetupError(
            f"Groups of {m} inputs: {name!r} has shape {tuple(values.shape)}, and {m} does not "
            f"divide its {values.shape[1]} inputs (dimension 1)."
        )
    if values.dim() == 2:
        return values.unsqueeze(1)
    return values.flatten(2).transpose(1, 2)


def lowest_of_groups(
    name: str,
    scores: Tensor,
    m: int,
    drop: int,
    *,
    chunk: int = CHUNK,
) -> Tensor:
    """The mask of the `drop` first of every group of m inputs in the order (score, index).

    >>> lowest_of_groups("fc", torch.tensor([[4., 1., 3., 2.], [5., 5., 5., 5.]]), 4, 2)
    tensor([[False,  True, False,  True],
            [ True,  True, False, False]])
    """
    compiled = native()
    if compiled is not None and m == 4 and scores.dim() == 2 and _is_plain(scores):
        by_input(name, scores, m)
        mask = torch.empty(scores.shape, dtype=torch.bool)
        compiled.lowest_of_4_f32(scores.data_ptr(), scores.numel() // 4, drop, mask.data_ptr())
        return mask
    if scores.device.type == "cpu" and m <= FEW:
        kind = common([scores])

        def pick(block: Tensor, _start: int) -> Tensor:
            return torch.from_numpy(_by_comparing(plain(block.reshape(-1), kind), m, drop))

    else:

        def pick(block: Tensor, _start: int) -> Tensor:
            groups = block.reshape(-1, m)
            counts = torch.full((groups.shape[0],), drop, device=scores.device)
            return lowest_of_rows(groups, None, counts)[0]

    return _in_blocks(name, scores.detach(), m, pick, chunk)


def _is_plain(scores: Tensor) -> bool:
    return scores.dtype is torch.float32 and fits(scores)


def some_of_groups(
    name: str,
    scores: Tensor,
    eligible: Tensor,
    counts: Tensor,
    m: int,
    *,
    highest: bool,
    chunk: int = CHUNK,
) -> Tensor:
    """As `lowest_of_groups` with a count per group (O, positions, I / m) among the eligible."""
    allowed = by_input(name, eligible, m)

    def pick(block: Tensor, start: int) -> Tensor:
        rows = slice(start, start + block.shape[0])
        return lowest_of_rows(
            block.reshape(-1, m),
            allowed[rows].reshape(-1, m),
            counts[rows].reshape(-1),
            highest=highest,
        )[0]

    return _in_blocks(name, scores.detach(), m, pick, chunk)


def _in_blocks(
    name: str, scores: Tensor, m: int, pick: Callable[[Tensor, int], Tensor], chunk: int
) -> Tensor:
    """`pick` on blocks of output rows, written into one mask."""
    view = by_input(name, scores, m)
    mask = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
    if scores.numel() == 0:
        return mask
    into = by_input(name, mask, m)
    step = max(1, chunk // max(1, view[0].numel()))
    for start in range(0, view.shape[0], step):
        block = view[start : start + step]
        into[start : start + step] = pick(block, start).view(block.shape)
    return mask


def _by_comparing(values: np.ndarray, m: int, drop: int) -> np.ndarray:
    """The rank of each number in its group, counted with one comparison per pair.

    Of a pair (i before j) one number ranks above the other: j when v_i <= v_j, else i. So ties
    rank by index. A number is chosen when fewer than `drop` rank below it.
    """
    count = len(values) // m
    columns = np.ascontiguousarray(values.reshape(count, m).T)
    ranks = np.zeros((m, count), dtype=np.uint8)
    first = np.empty(count, dtype=bool)
    for i in range(m):
        for j in range(i + 1, m):
            np.less_equal(columns[i], columns[j], out=first)
            ranks[j] += first.view(np.uint8)
            np.logical_not(first, out=first)
            ranks[i] += first.view(np.uint8)
    chosen = np.empty((count, m), dtype=bool)
    # Column by column: numpy copies a transposed block of bytes much more slowly.
    for i in range(m):
        chosen[:, i] = ranks[i] < drop
    return chosen
