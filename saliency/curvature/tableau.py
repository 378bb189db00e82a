"""A quadratic under removals and returns of single variables, each exact and O(B^2).

The symmetric sweep keeps, for the awake A and the removed Q of each block, T_AA = the inverse of
H_AA, T_AQ = V_AQ (V_QQ)^-1 and T_QQ = -(V_QQ)^-1; z_A = the awake values after their update and
z_Q = (V_QQ)^-1 w_Q. One formula removes, the same with two signs turned returns.

Source: the sweep operator, Beaton 1964; Goodnight 1979.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from saliency.curvature.blocks import only


@final
class Tableau:
    """k blocks of B variables each.

    Args:
        inverse: V [k, B, B]; copied.
        values: w [k, B]; copied.

    Attributes:
        loss: Loss increase of each block, [k].
        removed: Which variables are out, [k, B].

    >>> h = torch.tensor([[[2.0, 1.0], [1.0, 4.0]]])
    >>> tableau = Tableau(torch.linalg.inv(h), torch.ones(1, 2))
    >>> tableau.costs()
    tensor([[0.8750, 1.7500]])
    >>> tableau.pivot(torch.tensor([0]))
    >>> tableau.values, tableau.loss
    (tensor([[1.7500, 1.2500]]), tensor([0.8750]))
    """

    def __init__(self, inverse: Tensor, values: Tensor) -> None:
        self.matrix = inverse.clone()
        self.values = values.clone()
        self.loss = values.new_zeros(len(values))
        self.removed = torch.zeros_like(values, dtype=torch.bool)
        self._blocks = torch.arange(len(values), device=values.device)

    def costs(self) -> Tensor:
        """Loss increase by removing each awake variable next; minus the gain of a return."""
        diagonal = self.matrix.diagonal(dim1=-2, dim2=-1)
        return self.values.square() / (2 * diagonal)

    def pivot(self, index: Tensor, active: Tensor | None = None) -> None:
        """Remove variable index[b] of block b if it is in, return it if it is out.

        Args:
            index: int64 [k].
            active: bool [k]; blocks of False stay as they are.
        """
        blocks = self._blocks if active is None else self._blocks[active]
        if not len(blocks):
            return
        index = index[blocks]
        whole = active is None or len(blocks) == len(self._blocks)
        matrix = self.matrix if whole else self.matrix[blocks]
        values = self.values if whole else self.values[blocks]
        here = torch.arange(len(blocks), device=index.device)
        out = self.removed[blocks, index]
        column = matrix[here, :, index].clone()
        pivot = column[here, index]
        z = values[here, index]
        scaled = column / pivot[:, None]
        matrix.baddbmm_(column[:, :, None], scaled[:, None, :], alpha=-1)
        signed = torch.where(out[:, None], -scaled, scaled)
        signed[here, index] = -1 / pivot
        matrix[here, :, index] = signed
        matrix[here, index, :] = signed
        values.sub_(scaled * z[:, None])
        values[here, index] = torch.where(out, -z, z) / pivot
        if not whole:
            self.matrix[blocks], self.values[blocks] = matrix, values
        self.loss[blocks] += z.square() / (2 * pivot)
        self.removed[blocks, index] = ~out

    def remove_all(self, chosen: Tensor) -> None:
        """Remove these variables [k, B] together, all of which must be in, by one inversion.

        >>> tableau = Tableau(torch.eye(2)[None] / 2, torch.ones(1, 2))  # H = 2 I
        >>> tableau.remove_all(torch.tensor([[True, True]]))
        >>> tableau.loss
        tensor([2.])
        """
        both = chosen[:, :, None] & chosen[:, None, :]
        inner = torch.linalg.inv(only(self.matrix, chosen)).masked_fill(~both, 0)
        pull = self.matrix @ inner  # V_.Q (V_QQ)^-1
        rest = torch.baddbmm(self.matrix, pull, self.matrix, alpha=-1)
        gone = self.values.masked_fill(~chosen, 0)[:, :, None]
        change = (inner @ gone).squeeze(2)
        self.loss += 0.5 * (gone.squeeze(2) * change).sum(1)
        self.values = torch.where(chosen, change, self.values - (pull @ gone).squeeze(2))
        mixed = torch.where(chosen[:, None, :], pull, pull.mT)
        outside = ~(chosen[:, :, None] | chosen[:, None, :])
        self.matrix = torch.where(both, -inner, torch.where(outside, rest, mixed))
        self.removed = self.removed | chosen

    def best_swap(self, asleep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(change of loss, j, i) of the best exchange in each block: j returns, i is removed.

        Exact for all pairs at once: after j returns, z_i and T_ii follow by one sweep. A block
        without a pair has the change infinity.
        """
        diagonal = self.matrix.diagonal(dim1=-2, dim2=-1)
        ratio = self.matrix / diagonal[:, :, None]
        values = self.values[:, None, :] - ratio * self.values[:, :, None]
        inverse = diagonal[:, None, :] - ratio * self.matrix
        change = self.costs()[:, :, None] + values.square() / (2 * inverse)
        pairs = self.removed[:, :, None] & ~(self.removed | asleep)[:, None, :]
        change = torch.where(pairs & (inverse > 0), change, torch.inf)
        best, place = change.flatten(1).min(1)
        size = self.removed.shape[1]
        return best, place // size, place % size


def elimination(inverse: Tensor, values: Tensor, asleep: Tensor, steps: int) -> Tensor:
    """Scores [k, B] whose order within a block is that of greedy exact removal, one at a time.

    A score is the loss increase of the removal, given all earlier ones and their updates; never
    below that of an earlier removal, so that every prefix of the order is a prefix of the
    scores. Variables left after `steps` score their increase at that point; sleepers score 0.
    """
    tableau, left = Tableau(inverse, values), ~asleep
    scores = torch.zeros_like(values)
    floor = torch.zeros_like(tableau.loss)
    blocks = torch.arange(len(values), device=values.device)
    places = torch.arange(values.shape[1], device=values.device).repeat(len(values), 1)
    since = 0
    for _ in range(min(steps, values.shape[1])):
        cost, index = tableau.costs().masked_fill(~left, torch.inf).min(1)
        active = left.any(1)
        # Just above the last one: a tie would let a later removal pass an earlier one.
        above = torch.nextafter(floor, torch.full_like(floor, torch.inf))
        floor = torch.where(active, torch.maximum(cost, above), floor)
        scores[blocks[active], places[blocks, index][active]] = floor[active]
        left[blocks[active], index[active]] = False
        tableau.pivot(index, active)
        since += 1
        if 4 * since >= left.shape[1] > 8:
            # What has gone takes no more part; in all that is a third of the work.
            tableau, left, places = _shrunk(tableau, left, places)
            since = 0
    above = torch.nextafter(floor, torch.full_like(floor, torch.inf))
    rest = torch.maximum(tableau.costs(), above[:, None])
    return scores.scatter(1, places, torch.where(left, rest, scores.gather(1, places)))


def _shrunk(tableau: Tableau, left: Tensor, places: Tensor) -> tuple[Tableau, Tensor, Tensor]:
    """The same for those left, as many in each block as the block with the most has."""
    width = max(1, int(left.sum(1).max()))
    order = (~left).to(torch.int8).argsort(dim=1, stable=True)[:, :width]
    rows = order[:, :, None].expand(-1, -1, left.shape[1])
    columns = order[:, None, :].expand(-1, width, -1)
    matrix = tableau.matrix.gather(1, rows).gather(2, columns)
    smaller = Tableau(matrix, tableau.values.gather(1, order))
    return smaller, left.gather(1, order), places.gather(1, order)
