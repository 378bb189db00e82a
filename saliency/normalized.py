"""Scores in units of their tensor, so that tensors of different scale can compete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saliency.magnitude import Magnitude
from saliency.scorer import Scorer, check_scorer_argument, widened
from saliency.signals import Signals
from saliency.taylor import Taylor
from saliency.wrapper import Wrapper


class Scale(ABC):
    """scores of one tensor -> one number, 0 or more, that they are divided by."""

    @abstractmethod
    def __call__(self, scores: Tensor) -> Tensor:
        """The number, as a tensor without dimensions. `scores` is 1-D and never empty."""


@dataclass(frozen=True)
class MeanScale(Scale):
    """mean |s|.

    >>> import torch
    >>> MeanScale()(torch.tensor([1.0, -3.0]))
    tensor(2.)
    """

    def __call__(self, scores: Tensor) -> Tensor:
        """The mean of the absolute scores."""
        return scores.abs().mean()


@dataclass(frozen=True)
class SumScale(Scale):
    """sum |s|.

    >>> import torch
    >>> SumScale()(torch.tensor([1.0, -3.0]))
    tensor(4.)
    """

    def __call__(self, scores: Tensor) -> Tensor:
        """The sum of the absolute scores."""
        return scores.abs().sum()


@dataclass(frozen=True)
class MaxScale(Scale):
    """max |s|.

    >>> import torch
    >>> MaxScale()(torch.tensor([1.0, -3.0]))
    tensor(3.)
    """

    def __call__(self, scores: Tensor) -> Tensor:
        """The largest absolute score."""
        return scores.abs().max()


@dataclass(frozen=True)
class StdScale(Scale):
    """sqrt(mean((s - mean(s))^2)).

    >>> import torch
    >>> StdScale()(torch.tensor([1.0, -3.0]))
    tensor(2.)
    """

    def __call__(self, scores: Tensor) -> Tensor:
        """The deviation of the scores, as of a population."""
        return scores.std(correction=0)


@dataclass(frozen=True)
class Normalized(Wrapper):
    """s / by(s), tensor by tensor, with by(s) taken over the awake entries.

    Signs and the order within a tensor stay as they are. A tensor whose divisor is 0, or that
    has nothing awake, is left as it is.

    Args:
        scorer: Whose scores.
        by: MeanScale(), SumScale(), MaxScale() or StdScale().

    Raises:
        TypeError: `scorer` is no scorer, or `by` is no scale.

    Source: compared in Molchanov et al. 2017 (arXiv:1611.06440) and the Torch-Pruning library.

    >>> import torch
    >>> weights = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([10.0, -30.0])}
    >>> Normalized(Magnitude(), by=MeanScale()).score(Signals(weights=weights))
    {'a': tensor([0.5000, 1.5000]), 'b': tensor([0.5000, 1.5000])}
    """

    scorer: Scorer
    by: Scale = field(default_factory=MeanScale)

    elementwise = False

    def __post_init__(self) -> None:
        check_scorer_argument("Normalized", "scorer", self.scorer)
        if not isinstance(self.by, Scale):
            raise TypeError(
                f"Normalized(by={self.by!r}): by must be MeanScale(), SumScale(), MaxScale() "
                "or StdScale()."
            )

    @property
    def inside(self) -> tuple[Scorer, ...]:
        """The scorer."""
        return (self.scorer,)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The scores in units of their tensor's scale."""
        scores = self.scorer.score(signals)
        return {
            name: self._divided(widened(scores[name]), w, signals.awake.get(name))
            for name, w in signals.weights.items()
        }

    def _divided(self, scores: Tensor, w: Tensor, awake: Tensor | None) -> Tensor:
        whole = scores.expand(w.shape)
        among = whole.reshape(-1) if awake is None else whole[awake]
        if among.numel() == 0:
            return scores
        scale = self.by(among)
        return scores / torch.where(scale == 0, 1.0, scale)

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Every scale, and a scorer inside with needs of its own."""
        scales = (MeanScale(), SumScale(), MaxScale(), StdScale())
        return (*(Normalized(Magnitude(), by) for by in scales), Normalized(Taylor()))
