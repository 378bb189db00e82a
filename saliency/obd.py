"""Optimal Brain Damage: what the loss curves by when a weight goes to 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor

from saliency.curvature.diagonals import FisherDiagonal, GaussNewtonDiagonal
from saliency.curvature.hessian_diagonal import HessianDiagonal
from saliency.curvature.hutchinson import Hutchinson
from saliency.curvature.kfac import KFACDiagonal
from saliency.curvature.request import DiagonalRequest, check_request
from saliency.scorer import Scorer, widened
from saliency.signals import Signals


class Negative(Enum):
    """What a negative diagonal entry counts as; there are some away from a minimum.

    KEEP: Itself; the weight scores below 0 and goes first, since the quadratic says that the
        loss falls without it. CLAMP: 0, so that it goes with the sleepers. REFUSE: an error.
    """

    KEEP = "keep"
    CLAMP = "clamp"
    REFUSE = "refuse"

    def __repr__(self) -> str:
        return f"Negative.{self.name}"


@dataclass(frozen=True)
class OBD(Scorer):
    """s = h_kk w_k^2 / 2.

    The loss increase of a removal at a minimum of a quadratic whose Hessian is diagonal.

    Args:
        curvature: Where h_kk comes from: `HessianDiagonal()` (exact, a product per weight),
            `GaussNewtonDiagonal()` (the same for piecewise-linear networks, in C backward
            passes), `FisherDiagonal()`, `Hutchinson()`, `KFACDiagonal()`.
        negative: What a negative h_kk counts as.

    Raises:
        TypeError: `curvature` is no request for a diagonal, or `negative` no `Negative`.
        ValueError: On scoring, an entry is negative and `negative` is `Negative.REFUSE`.

    Source: LeCun, Denker and Solla 1990, "Optimal Brain Damage".

    >>> import torch
    >>> signals = Signals(
    ...     weights={"w": torch.tensor([2.0, -1.0])}, curvature={"w": torch.tensor([3.0, -4.0])}
    ... )
    >>> OBD().score(signals)
    {'w': tensor([ 6., -2.])}
    >>> OBD(negative=Negative.CLAMP).score(signals)
    {'w': tensor([6., 0.])}
    """

    curvature: DiagonalRequest = field(default_factory=HessianDiagonal)
    negative: Negative = Negative.KEEP

    needs = frozenset({"weights", "curvature"})
    elementwise = equivariant = True

    def __post_init__(self) -> None:
        check_request("OBD", "curvature", self.curvature, DiagonalRequest)
        check_negative("OBD", self.negative)

    def score(self, signals: Signals) -> dict[str, Tensor]:
        """H w^2 / 2 of each weight; 0 where asleep."""
        diagonal = treated(self, self.negative, signals)
        return {n: diagonal[n] * widened(w).square() / 2 for n, w in signals.weights.items()}

    @classmethod
    def examples(cls) -> tuple[Scorer, ...]:
        """All curvatures, and both treatments that always give a score."""
        return (
            OBD(),
            OBD(HessianDiagonal(chunk=5), Negative.CLAMP),
            OBD(GaussNewtonDiagonal()),
            OBD(FisherDiagonal(), Negative.REFUSE),
            OBD(Hutchinson(probes=3)),
            OBD(KFACDiagonal()),
        )


def check_negative(owner: str, value: Any) -> None:
    """Raise TypeError unless `value` is a member of `Negative`."""
    if not isinstance(value, Negative):
        raise TypeError(f"{owner}(negative={value!r}): negative must be one of {list(Negative)}.")


def treated(owner: Scorer, negative: Negative, signals: Signals) -> dict[str, Tensor]:
    """The curvature's diagonal as the scorer wants it, checked against the weights' shapes."""
    found = {}
    for name, w in signals.weights.items():
        h = widened(signals.curvature[name]).to(w.device)
        if h.shape != w.shape:
            raise ValueError(
                f"{owner!r}: the curvature of {name!r} has shape {tuple(h.shape)}, its weight "
                f"{tuple(w.shape)}; a diagonal has an entry per weight."
            )
        below = int((h < 0).sum())
        if below and negative is Negative.REFUSE:
            raise ValueError(
                f"{owner!r}: {below} of {h.numel()} entries of the diagonal for {name!r} are "
                f"negative, down to {float(h.min()):.3g}. Train to a minimum, or use "
                "GaussNewtonDiagonal(), Negative.KEEP or Negative.CLAMP."
            )
        found[name] = h.clamp(min=0) if negative is Negative.CLAMP else h
    return found
