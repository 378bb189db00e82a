"""Magnitude: small weights matter little."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saliency import arguments
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


@dataclass(frozen=True)
class Magnitude(Scorer):
    """s = |w|^p.

    The power does not change the order of single weights; it matters where scores are added up
    over a unit or divided by a sum.

    Args:
        p: 1 or 2.

    Raises:
        ValueError: `p` is neither.

    Source: Han et al. 2015 (arXiv:1506.02626).

    >>> import torch
    >>> signals = Signals(weights={"w": torch.tensor([-3.0, 0.5, 0.0])})
    >>> Magnitude().score(signals)
    {'w': tensor([3.0000, 0.5000, 0.0000])}
    >>> Magnitude(p=2).score(signals)
    {'w': tensor([9.0000, 0.2500, 0.0000])}
    """

    p: int = 1

    elementwise = equivariant = True

    def __post_init__(self) -> None:
        arguments.power("Magnitude", self.p)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w|^p of each weight; 0 where asleep."""
        if self.p == 1:
            return {name: w.abs() for name, w in signals.weights.items()}
        return {name: widened(w).square() for name, w in signals.weights.items()}

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Both powers."""
        return (Magnitude(), Magnitude(p=2))


@dataclass(frozen=True)
class StdThreshold(Scorer):
    """s = |w| / std, with std over the awake weights of the same tensor.

    A threshold t on these scores puts to sleep the weights with |w| < t std. The deviation is
    that of the population: sqrt(mean((w - mean(w))^2)). If it is 0, no threshold reaches the
    tensor, and all its scores are the largest number of their dtype.

    Source: Han et al. 2015 (arXiv:1506.02626), section 3: "quality parameter" times deviation.

    >>> import torch
    >>> w = torch.tensor([1.0, 5.0])  # mean 3, deviation 2
    >>> StdThreshold().score(Signals(weights={"w": w}))
    {'w': tensor([0.5000, 2.5000])}
    """

    equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w| in units of its tensor's deviation."""
        return {
            name: _in_deviations(widened(w), signals.awake.get(name))
            for name, w in signals.weights.items()
        }


def _in_deviations(w: Tensor, awake: Tensor | None) -> Tensor:
    among = w if awake is None else w[awake]
    std = float(among.std(correction=0)) if among.numel() else 0.0
    most = torch.finfo(w.dtype).max
    return torch.full_like(w, most) if std == 0 else w.abs().div_(std).clamp_(max=most)
