"""Cuts of grouped convolutions: what remains must be equal blocks again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sleepengine.compaction.cuts import Blocks, Cut, Lines
from sleepengine.compaction.sizes import RefusedError
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import Slice


def block_cut(
    shape: torch.Size,
    count: int,
    own: Iterable[tuple[NodeGroup, Slice]],
    awake: Mapping[str, Tensor],
) -> tuple[Cut, int]:
    """The cut of a weight of `count` blocks, and how many blocks remain.

    Block b has rows b m ... b m + m - 1 of dimension 0 and n columns of its own. A block without
    rows and columns goes; the others must keep equally many. In a depthwise convolution (m = n = 1)
    a block goes with its channel.

    Raises:
        RefusedError: the blocks that remain differ.
    """
    m, n = shape[0] // count, shape[1]
    rows = torch.ones(shape[0], dtype=torch.bool)
    columns = torch.ones(count * n, dtype=torch.bool)
    for group, one in own:
        owners, at = one.pairs(awake[group.name].numel())
        lost = at[~awake[group.name].cpu()[owners]]
        (rows if one.dim == 0 else columns)[lost] = False
    row_of, column_of = rows.view(count, m), columns.view(count, n)
    if m == n == 1:
        both = row_of & column_of
        kept = both.flatten().nonzero().flatten()
        if not len(kept):
            raise RefusedError("nothing of it would remain")
        return Lines(shape, {0: kept}), len(kept)
    full, read = row_of.sum(1), column_of.sum(1)
    remain = (full > 0) | (read > 0)
    if len(set(full[remain].tolist())) != 1 or len(set(read[remain].tolist())) != 1:
        raise RefusedError(
            f"a convolution with {count} groups needs equally many channels in each; awake are "
            f"{full.tolist()} made and {read.tolist()} read"
        )
    if not int(full[remain][0]) or not int(read[remain][0]):
        raise RefusedError("nothing would be made, or nothing read, by its groups")
    at = rows.nonzero().flatten()
    own_columns = [column_of[int(row) // m].nonzero().flatten() for row in at]
    return Blocks(shape, at, torch.stack(own_columns)), int(remain.sum())
