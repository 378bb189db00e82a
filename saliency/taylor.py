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


def _products(signals: Signals) -> dict[str, Tensor]:
    """Products w g by name."""
    return {
        name: widened(w) * widened(signals.grads[name]).to(w.device)
        for name, w in signals.weights.items()
    }


def _change(signals: Signals) -> dict[str, Tensor]:
    """|w g| by name."""
    return {name: product.abs_() for name, product in _products(signals).items()}


@dataclass(frozen=True)
class Taylor(Scorer):
    """s = |w g|^p, or -w g with its sign.

    Args:
        p: 1, or 2 for the squared form.
        signed: True for -w g, the change of the loss to first order. Changes of the weights of a
            group add up: with units of `Total(absolute=True)` the score of a node is |sum w g|.

    Raises:
        TypeError: `signed` is no bool.
        ValueError: `p` is neither, or 2 and `signed`.

    Source: Molchanov et al. 2017 (arXiv:1611.06440) for p=1 and groups, and 2019
    (arXiv:1906.10771) for p=2.

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, grads={"w": torch.tensor([-3.0, 0.5])}
    ... )
    >>> Taylor().score(signals)
    {'w': tensor([6.0000, 0.5000])}
    >>> Taylor(p=2).score(signals)
    {'w': tensor([36.0000,  0.2500])}
    >>> Taylor(signed=True).score(signals)  # the loss rises without either
    {'w': tensor([6.0000, 0.5000])}
    """

    p: int = 1
    signed: bool = False

    needs = frozenset({"weights", "grads"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        arguments.power("Taylor", self.p)
        arguments.flag("Taylor", "signed", self.signed)
        if self.signed and self.p == 2:
            raise ValueError("Taylor(p=2, signed=True): a square has no sign; give p=1.")

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """|w g|^p or -w g of each weight; 0 where asleep."""
        if self.signed:
            return {n: -product for n, product in _products(signals).items()}
        change = _change(signals)
        return change if self.p == 1 else {name: c.square_() for name, c in change.items()}

    def __repr__(self) -> str:
        return f"Taylor(p={self.p!r}{', signed=True' if self.signed else ''})"

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """Both powers, and with a sign."""
        return (Taylor(), Taylor(p=2), Taylor(signed=True))


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
