"""LAMP: each weight against those of its tensor that are at least as large."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from saliency.gradient import Gradient
from saliency.magnitude import Magnitude
from saliency.scorer import Scorer, check_scorer_argument, widened
from saliency.signals import Signals
from saliency.wrapper import Wrapper


@dataclass(frozen=True)
class Lamp(Wrapper):
    """s[u] = q[u] / (sum of q[v] over v at or after u), q = scores of a tensor, ascending.

    With q = w^2, a global pool over these scores gives each tensor its own share. The order is
    ascending by q and then by flat index, as the paper's: of equal weights, the one with the
    lower index has the larger sum below it, and the lower score. The last one of a tensor has
    score 1. Entries with q = 0 have score 0.

    The sums run in float64: added to a large sum in float32, small terms are lost, and how many
    depends on the device.

    Args:
        scorer: Gives q, which must be 0 or more.

    Raises:
        TypeError: `scorer` is no scorer.
        ValueError: A score is negative (when scores are asked for).

    Source: Lee et al. 2021 (arXiv:2010.07611).

    >>> import torch
    >>> w = torch.tensor([3.0, -1.0, 2.0])  # q ascending 1, 4, 9; sums 14, 13, 9
    >>> Lamp().score(Signals(weights={"w": w}))["w"]
    tensor([1.0000, 0.0714, 0.3077])
    >>> Lamp().score(Signals(weights={"w": torch.tensor([1.0, 1.0])}))["w"]
    tensor([0.5000, 1.0000])
    """

    scorer: Scorer = field(default_factory=lambda: Magnitude(p=2))

    elementwise = False

    def __post_init__(self) -> None:
        check_scorer_argument("Lamp", "scorer", self.scorer)

    @property
    def inside(self) -> tuple[Scorer, ...]:
        """The scorer."""
        return (self.scorer,)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """The share of each entry among those not below it."""
        scores = self.scorer.score(signals)
        return {
            name: self._shares(name, scores[name].expand(w.shape))
            for name, w in signals.weights.items()
        }

    def _shares(self, name: str, scores: Tensor) -> Tensor:
        flat = widened(scores.reshape(-1))
        if flat.numel() == 0:
            return flat.reshape(scores.shape)
        if bool((flat < 0).any()):
            raise ValueError(
                f"{self!r}: the scores of {self.scorer!r} must be 0 or more, but {name!r} has "
                f"{float(flat.min())!r}."
            )
        ascending, order = flat.sort(stable=True)
        wide = ascending.double()
        # Summed from the largest down, so that a small sum is not a difference of large ones.
        tails = wide.flip(0).cumsum(0).flip(0)
        shares = torch.where(tails == 0, 0.0, wide / tails)
        out = torch.empty_like(flat)
        out[order] = shares.to(flat.dtype)
        return out.reshape(scores.shape)

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """The published one, and one with another scorer inside."""
        return (Lamp(), Lamp(Gradient()))
