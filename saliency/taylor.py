"""First-order Taylor: what the loss changes by when a weight goes to 0.

`Snip` lives here because it is the same quantity, shared out so that all weights sum to one.
Its ranking over a global pool is that of `Taylor()`; its values compare across models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from saliency import arguments
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


def _change(signals: Signals) -> dict[str, Tensor]:
    """|w g| by name."""
    return {
        name: (widened(w) * widened(signals.grads[name]).to(w.device)).abs_()
        for name, w in signals.weights.items()
    }


@dataclass(frozen=True)
class Taylor(Scorer):
    """s = |w g|^p.

    Args:
        p: 1, or 2 for the squared form.

    Raises:
        ValueError: `p` is neither.

    Source: Molchanov et al. 2017 (arXiv:1611.06440) for p=1, and 2019 (arXiv:1906.10771)
    for p=2.

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, grads={"w": torch.tensor([-3.0, 0.5])}
    ... )
    >>> Taylor().score(signals)
    {'w': tensor([6.0000, 0.5000])}
    >>> Taylor(p=2).score(signals)
    {'w': tensor([36.0000,  0.2500])}
    """

    p: int = 1

    needs = frozenset({"weights", "grads"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        arguments.power("Taylor", self.p)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w g|^p of each weight; 0 where asleep."""
        change = _change(signals)
        return change if self.p == 1 else {name: c.square_() for name, c in change.items()}

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Both powers."""
        return (Taylor(), Taylor(p=2))


@dataclass(frozen=True)
class Snip(Scorer):
    """s = |w g| / sum of |w g| over all weights of all tensors.

    If every product is 0, so is every score.

    Source: Lee, Ajanthan and Torr 2019 (arXiv:1810.02340), connection sensitivity.

    >>> import torch
    >>> signals = Signals(
    ...     weights={"a": torch.tensor([2.0, -1.0]), "b": torch.tensor([1.0])},
    ...     grads={"a": torch.tensor([-3.0, 1.0]), "b": torch.tensor([1.0])},
    ... )
    >>> Snip().score(signals)
    {'a': tensor([0.7500, 0.1250]), 'b': tensor([0.1250])}
    """

    needs = frozenset({"weights", "grads"})
    equivariant = True

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The share of each weight; 0 where asleep."""
        change = _change(signals)
        # Tensors may lie on different devices, hence Python numbers.
        total = math.fsum(float(c.sum(dtype=torch.float64)) for c in change.values())
        return {name: c.div_(total or 1.0) for name, c in change.items()}
