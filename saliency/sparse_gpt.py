"""SparseGPT: one pass over the columns, with one inverse for all rows."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from saliency import arguments
from saliency.curvature.request import positive_int
from saliency.curvature.storage import DEFAULT_MEMORY
from saliency.layer_rows import RowProblem, inverse
from saliency.layerwise import LayerwiseOBS
from saliency.scorer import Scorer


@final
class SparseGPT(LayerwiseOBS):
    """s = w_j^2 / U_jj^2, with U'U = H^-1 and w as the columns before j left it.

    Columns are passed from first to last. U_jj^2 is [H^-1]_jj after all columns before j are
    gone, for all rows alike. When a weight falls asleep, the columns after it receive
    -(w_j / U_jj) U_j,j+1: ; those before it stay. `fraction` and `pattern` say which weights fall
    asleep on the way; they score below all others of the tensor (of their group), so that
    `to(fraction)` in `PerTensor()`, or `NofM(n, m)`, picks exactly these. Without either the
    choice is made at once, from the weights as they are. `compensate` passes the same columns
    for any choice.

    Costs O(d^3 + out d^2) time for d inputs per output.

    Args:
        fraction: Share that falls asleep in each block of columns.
        pattern: (n, m): m - n of every m consecutive inputs fall asleep, for `NofM(n, m)`.
        block: Columns that choose together, from the weights as the blocks before left them.
        damp: Share of the mean diagonal that is added to H's diagonal.
        accumulate: Average the inputs' second moments over the observed steps.
        memory: Bytes that the second moments of one weight's inputs may take, 8 d^2.

    Raises:
        TypeError: An argument is of another type.
        ValueError: Both `fraction` and `pattern`; one is out of range; when scoring, H is
            singular.

    Source: Frantar and Alistarh 2023 (arXiv:2301.00774).

    >>> from saliency import Signals
    >>> gram = {"w": torch.tensor([[[1.0, 0.8], [0.8, 1.0]]])}
    >>> signals = Signals(weights={"w": torch.tensor([[1.0, 1.0]])}, activations=gram)
    >>> gpt = SparseGPT(damp=0.0)
    >>> gpt.score(signals)  # 1 - 0.8^2, and 1: nothing comes after the last column
    {'w': tensor([[0.3600, 1.0000]])}
    >>> gpt.compensate({"w": torch.tensor([[True, False]])}, signals)
    {'w': tensor([[0.0000, 0.8000]])}
    """

    def __init__(
        self,
        fraction: float | None = None,
        pattern: tuple[int, int] | None = None,
        block: int = 128,
        damp: float = 0.01,
        accumulate: bool = False,
        memory: int = DEFAULT_MEMORY,
    ) -> None:
        super().__init__(pattern, damp, accumulate, memory)
        if fraction is not None:
            arguments.share("SparseGPT", "fraction", fraction)
            if pattern is not None:
                raise ValueError(
                    f"SparseGPT(fraction={fraction!r}, pattern={pattern!r}): give one of them."
                )
        positive_int("SparseGPT", "block", block)
        self.fraction = fraction
        self.block = block

    def row_scores(self, name: str, problem: RowProblem, before: int) -> tuple[Tensor, Tensor]:
        """Errors on the way, and which weights leave on it."""
        upper = _upper(repr(self), name, problem)
        w, gone = problem.rows.clone(), ~problem.awake
        scores, leaving = torch.zeros_like(w), torch.zeros_like(gone)
        for start, stop in blocks(w.shape[1], self.block if self.pattern is None else self._m):
            cut = slice(start, stop)
            errors = (w[:, cut] / upper.diagonal()[cut]).square().masked_fill_(gone[:, cut], -1.0)
            scores[:, cut] = errors.clamp(min=0)
            leaving[:, cut] = self._leaving(errors, before + start * len(w))
            gone = gone | leaving
            pass_columns(w, gone, upper, start, stop)
        problem.told(len(w))
        # With a pattern, groups choose from these very scores: nothing needs to be lifted.
        return scores, leaving if self.pattern is None else torch.zeros_like(leaving)

    def row_update(self, name: str, problem: RowProblem, chosen: Tensor) -> Tensor:
        """What the pass over all columns adds to the survivors."""
        w, gone = problem.rows.clone(), chosen | ~problem.awake
        if bool((chosen & problem.awake).any()):
            upper = _upper(repr(self), name, problem)
            for start, stop in blocks(w.shape[1], self.block):
                pass_columns(w, gone, upper, start, stop)
        problem.told(len(w))
        return (w - problem.rows).masked_fill_(gone, 0.0)

    @property
    def _m(self) -> int:
        return 1 if self.pattern is None else self.pattern.m

    def _leaving(self, errors: Tensor, before: int) -> Tensor:
        """Which of a block fall asleep; counts add up to floor(f n + 1/2) over all n entries."""
        if self.pattern is not None:
            groups = errors.unflatten(1, (-1, self.pattern.m))
            ranks = groups.argsort(dim=2, stable=True).argsort(dim=2)
            return (ranks < self.pattern.drop).flatten(1)
        leaving = torch.zeros(errors.numel(), dtype=torch.bool, device=errors.device)
        if self.fraction is not None:
            count = [math.floor(self.fraction * n + 0.5) for n in (before, before + len(leaving))]
            first = errors.reshape(-1).argsort(stable=True)[: count[1] - count[0]]
            leaving[first] = True
        return leaving.reshape(errors.shape)

    def __repr__(self) -> str:
        parts = [
            "" if self.fraction is None else f"fraction={self.fraction!r}",
            "" if self.block == 128 else f"block={self.block!r}",
            *self.said(0.01),
        ]
        return f"SparseGPT({', '.join(part for part in parts if part)})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Without and with a share, and with memory."""
        return (SparseGPT(), SparseGPT(fraction=0.5, block=2), SparseGPT(accumulate=True))


def pass_columns(w: Tensor, gone: Tensor, upper: Tensor, start: int, stop: int) -> None:
    """Send columns start to stop to sleep where `gone`, in place; all columns after them move."""
    cut = slice(start, stop)
    errors = torch.zeros_like(w[:, cut])
    for j in range(start, stop):
        error = torch.where(gone[:, j], w[:, j] / upper[j, j], 0.0)
        w[:, j:stop] -= error.unsqueeze(1) * upper[j, j:stop]
        errors[:, j - start] = error
    w[:, stop:] -= errors @ upper[cut, stop:]
    w[:, cut] = w[:, cut].masked_fill(gone[:, cut], 0.0)


def blocks(width: int, size: int) -> list[tuple[int, int]]:
    """Runs of columns.

    >>> blocks(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(start, min(width, start + size)) for start in range(0, width, size)]


def _upper(owner: str, name: str, problem: RowProblem) -> Tensor:
    """U with U'U = H^-1."""
    return torch.linalg.cholesky(inverse(owner, name, problem.hessian), upper=True)
