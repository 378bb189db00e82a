"""ExactOBS: weights of a row leave one by one, and the rest makes up for each."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from saliency.curvature.storage import DEFAULT_MEMORY
from saliency.layer_rows import RowProblem, inverse, only_where, refit, rows_at_once
from saliency.layerwise import LayerwiseOBS
from saliency.pattern import NofMInputs, group_sums
from saliency.scorer import Scorer


@final
class ExactOBS(LayerwiseOBS):
    """s = increase of the layer's mean squared error at the moment when the greedy takes a weight.

    Per row, with H = mean x x': take the weight with the least w_p^2 / [H^-1]_pp, subtract
    H^-1_:p w_p / [H^-1]_pp from the row, take p out of H^-1, and so on to the last weight.
    Scores are made to rise along each row's order, so that the lowest k of a row are the first k
    that the greedy takes, whatever the pools. `compensate` refits the survivors of each row by
    least squares, which is where the greedy's own updates lead.

    Costs O(out d^3) time for d inputs per output, and memory for 64 MB of d x d matrices.

    Args:
        pattern: (n, m) lets the greedy take at most m - n of every m consecutive inputs, for use
            with `NofM(n, m)`; weights that it may not take score above those of their row that
            it may.
        damp: Share of the mean diagonal that is added to H's diagonal; 0 needs inputs that span
            all d dimensions.
        accumulate: Average the inputs' second moments over the observed steps.
        memory: Bytes that the second moments of one weight's inputs may take, 8 d^2.

    Raises:
        TypeError: An argument is of another type.
        ValueError: `damp` is not in 0 <= damp < 1, or not 0 < n < m; when scoring, H is singular.

    Source: Frantar, Singh and Alistarh 2022 (arXiv:2208.11580).

    >>> from saliency import Signals
    >>> gram = {"w": torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.8], [0.0, 0.8, 1.0]]])}
    >>> signals = Signals(weights={"w": torch.tensor([[0.9, 1.0, 1.0]])}, activations=gram)
    >>> obs = ExactOBS(damp=0.0)
    >>> obs.score(signals)  # 1 / (1 / 0.36), then 0.9^2, then 1.8^2
    {'w': tensor([[0.8100, 0.3600, 3.2400]])}
    >>> obs.compensate({"w": torch.tensor([[False, True, False]])}, signals)
    {'w': tensor([[0.0000, 0.0000, 0.8000]])}
    """

    def __init__(
        self,
        pattern: tuple[int, int] | None = None,
        damp: float = 1e-4,
        accumulate: bool = False,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        super().__init__(pattern, damp, accumulate, memory)

    def row_scores(self, name: str, problem: RowProblem, before: int) -> tuple[Tensor, Tensor]:
        """Rising errors along each row's order."""
        parts = []
        for start in range(0, len(problem.rows), rows_at_once(problem.rows.shape[1])):
            some = slice(start, start + rows_at_once(problem.rows.shape[1]))
            rows, awake = problem.rows[some], problem.awake[some]
            if bool(awake.all()):
                whole = inverse(repr(self), name, problem.hessian)
                inverses = whole.expand(len(rows), -1, -1).clone()
            else:
                inverses = inverse(repr(self), name, only_where(problem.hessian, awake))
            parts.append(greedy(rows, awake, inverses, self.pattern))
            problem.told(len(rows))
        scores = torch.cat(parts)
        return scores, torch.zeros_like(scores, dtype=torch.bool)

    def row_update(self, name: str, problem: RowProblem, chosen: Tensor) -> Tensor:
        """The least-squares refit of the survivors."""
        return refit(repr(self), name, problem, chosen)

    def __repr__(self) -> str:
        return f"ExactOBS({', '.join(self.said(1e-4))})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Without and with memory."""
        return (ExactOBS(), ExactOBS(damp=0.01, accumulate=True))


def greedy(rows: Tensor, awake: Tensor, inverses: Tensor, pattern: NofMInputs | None) -> Tensor:
    """Errors [r, d] in rising order of the greedy removal; 0 where asleep.

    Args:
        rows: [r, d].
        awake: Bool [r, d]; the others are gone from the start.
        inverses: [r, d, d], of H on the awake entries; overwritten.
        pattern: Which entries may go first.
    """
    w, gone = rows.clone(), ~awake
    every = torch.arange(len(rows), device=rows.device)
    scores, last = torch.zeros_like(rows), rows.new_full((len(rows),), -1.0)
    small = torch.finfo(torch.float32)
    for _ in range(rows.shape[1]):
        alive = ~gone.all(1)
        barred = gone
        if pattern is not None:
            full = gone | (group_sums(gone.long(), pattern.m) >= pattern.drop)
            barred = torch.where(full.all(1, keepdim=True), gone, full)
        diagonal = inverses.diagonal(dim1=1, dim2=2)
        errors = (w.square() / diagonal).masked_fill(barred, float("inf"))
        place = errors.argmin(1)
        pivot = diagonal[every, place]
        value = torch.where(alive, w[every, place], 0.0)
        error = value.square() / pivot
        # Steps that float32 can tell apart, so that ties never change the order.
        floor = torch.where(last < 0, 0.0, last * (1 + 2 * small.eps) + 2 * small.tiny)
        last = torch.where(alive, torch.maximum(error, floor), last)
        scores[every[alive], place[alive]] = last[alive]
        column = inverses[every, :, place] * alive.unsqueeze(1)
        w -= column * (value / pivot).unsqueeze(1)
        scaled = (column / pivot.unsqueeze(1)).unsqueeze(1)
        inverses.baddbmm_(column.unsqueeze(2), scaled, alpha=-1)
        w[every[alive], place[alive]] = 0.0
        inverses[every[alive], place[alive], place[alive]] = 1.0  # no division by 0
        gone[every[alive], place[alive]] = True
    return scores
