"""Gradient: how fast the loss changes with a weight, asleep or awake."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from saliency.scorer import Scorer
from saliency.signals import Signals


@dataclass(frozen=True)
class Gradient(Scorer):
    """s = |g|.

    The gradient of a sleeping weight says what waking it would bring.

    Source: growth in RigL, Evci et al. 2020 (arXiv:1911.11134).

    >>> import torch
    >>> g = {"w": torch.tensor([-2.0, 1.0])}
    >>> Gradient().score(Signals(weights={"w": torch.zeros(2)}, grads=g))
    {'w': tensor([2., 1.])}
    """

    needs = frozenset({"weights", "grads"})
    elementwise = equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|g| of each weight, asleep or awake."""
        return {name: signals.grads[name].to(w.device).abs() for name, w in signals.weights.items()}
