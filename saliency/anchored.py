"""Magnitudes that look back at a kept point, such as the initial weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from saliency import arguments
from saliency.scorer import Scorer
from saliency.signals import Signals


@dataclass(frozen=True)
class MagnitudeIncrease(Scorer):
    """s = |w| - |w0|, with w0 the weight at the kept point `anchor`.

    Args:
        anchor: Name of the kept point.

    Raises:
        TypeError: `anchor` is not a string.
        ValueError: `anchor` is empty.

    Source: Zhou et al. 2019 (arXiv:1905.01067), "magnitude increase".

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([3.0, -1.0])}, anchor={"w": torch.tensor([-1.0, 2.0])}
    ... )
    >>> MagnitudeIncrease(anchor="init").score(signals)
    {'w': tensor([ 2., -1.])}
    """

    anchor: str = "init"

    needs = frozenset({"weights", "anchor"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        arguments.point("MagnitudeIncrease", self.anchor)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w| - |w0|; -|w0| where asleep."""
        return {
            name: w.abs().sub_(signals.anchor[name].to(w).abs())
            for name, w in signals.weights.items()
        }


@dataclass(frozen=True)
class AnchorMagnitude(Scorer):
    """s = |w0|, with w0 the weight at the kept point `anchor`.

    Args:
        anchor: Name of the kept point.

    Raises:
        TypeError: `anchor` is not a string.
        ValueError: `anchor` is empty.

    Source: Zhou et al. 2019 (arXiv:1905.01067), "large init".

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([3.0, -1.0])}, anchor={"w": torch.tensor([-1.0, 2.0])}
    ... )
    >>> AnchorMagnitude(anchor="init").score(signals)
    {'w': tensor([1., 2.])}
    """

    anchor: str = "init"

    needs = frozenset({"weights", "anchor"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        arguments.point("AnchorMagnitude", self.anchor)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w0| of each weight, asleep or awake."""
        return {name: signals.anchor[name].to(w).abs() for name, w in signals.weights.items()}
