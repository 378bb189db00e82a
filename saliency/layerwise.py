"""What layer-wise OBS scorers share: the layer's output is to change least in mean square."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from saliency import arguments
from saliency.activation_requests import InputGram
from saliency.compensating import CompensatingScorer
from saliency.curvature.storage import DEFAULT_MEMORY
from saliency.layer_rows import RowProblem, row_problems
from saliency.pattern import NofMInputs
from saliency.scorer import widened
from saliency.signals import Signals
from saliency.step_means import StepMeans


class LayerwiseOBS(CompensatingScorer):
    """Scores weights by the mean squared error that their sleep makes in their layer's output.

    Works in float64. Sleeping weights are held at 0: nothing is scored or compensated by them.
    Inputs that are always 0 make their weights worth 0.
    """

    needs = frozenset({"weights", "activations"})

    def __init__(
        self, pattern: tuple[int, int] | None, damp: float, accumulate: bool, memory: int
    ) -> None:
        owner = type(self).__name__
        arguments.flag(owner, "accumulate", accumulate)
        arguments.share(owner, "damp", damp)
        self.pattern = None if pattern is None else _pattern(owner, pattern)
        self.damp = damp
        self.accumulate = accumulate
        self.memory = memory
        self.activations = InputGram(memory)
        self._means = StepMeans(owner)

    @abstractmethod
    def row_scores(self, name: str, problem: RowProblem, before: int) -> tuple[Tensor, Tensor]:
        """Scores [r, d] of one group of rows, with `before` entries of the weight before it.

        Second, which of them must score below all others of the weight; bool [r, d].
        """

    @abstractmethod
    def row_update(self, name: str, problem: RowProblem, chosen: Tensor) -> Tensor:
        """What the survivors [r, d] are to gain when the chosen ones fall asleep."""

    @property
    def accumulates(self) -> bool:  # type: ignore[override]
        """Whether steps are observed."""
        return self.accumulate

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """Of each weight; 0 where asleep."""
        scores, told = {}, self._counter("score", signals, signals.weights)
        for name, w in signals.weights.items():
            flat = torch.zeros(_rows(w).shape, dtype=torch.float64, device=w.device)
            low = torch.zeros_like(flat, dtype=torch.bool)
            columns = self._columns(name, w)
            for one in self._problems(signals, name, told):
                before = one.first * flat.shape[1]
                flat[one.where], low[one.where] = self.row_scores(name, one, before)
            flat = _lifted(flat, low)[:, columns.argsort()]
            scores[name] = flat.to(widened(w).dtype).reshape(w.shape)
        return scores

    def compensate(self, choice: Mapping[str, Tensor], signals: Signals) -> dict[str, Tensor]:
        """What the surviving weights are to gain; 0 where chosen or asleep."""
        updates, told = {}, self._counter("update", signals, choice)
        for name, chosen in choice.items():
            w, columns = signals.weights[name], self._columns(name, signals.weights[name])
            flat = torch.zeros(_rows(w).shape, dtype=torch.float64, device=w.device)
            picked = _rows(chosen.to(w.device))[:, columns]
            for problem in self._problems(signals, name, told):
                flat[problem.where] = self.row_update(name, problem, picked[problem.where])
            updates[name] = flat[:, columns.argsort()].to(w.dtype).reshape(w.shape)
        return updates

    def _counter(self, what: str, signals: Signals, names: Iterable[str]) -> Callable[[int], None]:
        """Reports the rows that are done, of all rows of these weights."""
        done, total = 0, sum(len(signals.weights[name]) for name in names)

        def told(rows: int) -> None:
            nonlocal done
            done += rows
            signals.report(f"{type(self).__name__} {what}, rows", done, total)

        return told

    def _problems(
        self, signals: Signals, name: str, told: Callable[[int], None]
    ) -> Iterator[RowProblem]:
        """The rows of one weight; with a pattern, its groups lie side by side."""
        w, awake, owner = signals.weights[name], signals.awake.get(name), repr(self)
        gram = self._means.read("activations", name, signals)
        columns = self._columns(name, w)
        for one in row_problems(owner, name, w, gram, awake, self.damp):
            yield RowProblem(
                one.first,
                one.rows[:, columns],
                one.awake[:, columns],
                one.hessian[columns][:, columns],
                told,
            )

    def _columns(self, name: str, w: Tensor) -> Tensor:
        if self.pattern is None:
            return torch.arange(_rows(w).shape[1], device=w.device)
        return torch.tensor(self.pattern.order(repr(self), name, w.shape), device=w.device)

    def said(self, damp: float) -> list[str]:
        """The arguments that are not the usual ones, as a call shows them."""
        pattern = self.pattern
        parts = [
            "" if pattern is None else f"pattern=({pattern.n}, {pattern.m})",
            "" if self.damp == damp else f"damp={self.damp!r}",
            "accumulate=True" if self.accumulate else "",
            "" if self.memory == DEFAULT_MEMORY else f"memory={self.memory}",
        ]
        return [part for part in parts if part]

    def observe(self, signals: Signals) -> None:
        """Average in the second moments of this step."""
        seen = signals.activations
        self._means.observe({name: seen[name] for name in signals.weights if name in seen})

    def reset(self) -> None:
        """Forget all observed steps."""
        self._means.reset()

    def state_dict(self) -> dict[str, Any]:
        """A copy of the means; empty unless steps are observed."""
        return self._means.state_dict() if self.accumulate else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over saved means."""
        if self.accumulate:
            self._means.load_state_dict(state)
        else:
            super().load_state_dict(state)


def _lifted(scores: Tensor, low: Tensor) -> Tensor:
    """The others no lower than a float32 step above the highest of the low ones."""
    if not bool(low.any()):
        return scores
    top, small = scores[low].max(), torch.finfo(torch.float32)
    return torch.where(low, scores, scores.clamp(min=top * (1 + 2 * small.eps) + 2 * small.tiny))


def _rows(w: Tensor) -> Tensor:
    return w.reshape(len(w), w.shape[1:].numel())


def _pattern(owner: str, pattern: object) -> NofMInputs:
    if not isinstance(pattern, (tuple, list)) or len(pattern) != 2:
        raise ValueError(f"{owner}(pattern={pattern!r}): pattern must be (n, m), such as (2, 4).")
    return NofMInputs(*pattern)
