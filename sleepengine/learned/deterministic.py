"""Relaxations without noise: a threshold, and the top scores of every tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform
from sleepengine.learned.relaxation import Place, Relaxation, check_number, straight_through


@final
@dataclass(frozen=True)
class StraightThrough(Relaxation):
    """m = 1[l > threshold], with the gradient of l. `hard=False` multiplies weights by l itself.

    Source: Mallya, Davis and Lazebnik 2018 (Piggyback, arXiv:1801.06519), whose first value and
    threshold are the defaults. A penalty, if asked for, is alpha times the sum of l.

    >>> StraightThrough().awake(torch.tensor([0.005, 0.006]))
    tensor([False,  True])
    """

    threshold: float = 5e-3
    init: float = 1e-2
    hard: bool = True
    lr: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("init", self.init)):
            check_number("StraightThrough", name, value, lambda _: True, "a finite number")

    @property
    def centre(self) -> float:
        """`threshold`."""
        return self.threshold

    @property
    def first(self) -> float:
        """`init`."""
        return self.init

    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """The mask, or l itself."""
        return straight_through(logits > self.threshold, logits) if self.hard else logits

    def awake(self, logits: Tensor) -> Tensor:
        """Logits above the threshold."""
        return logits.detach() > self.threshold

    def expected(self, logits: Tensor) -> Tensor:
        """The logits when soft, else the mask as numbers."""
        return logits.detach() if not self.hard else self.awake(logits).to(logits.dtype)


@final
@dataclass(frozen=True)
class TopK(Relaxation):
    """m = 1 for the largest |l| of every tensor, with the gradient of |l|; floor(f n + 1/2) sleep.

    Among equal scores the lowest index sleeps first; one weight of a tensor always stays awake.
    Scores start uniform in +-1 / sqrt(inputs per row). There is no penalty: how many sleep is
    given.

    Args:
        asleep: f, the sleeping share of every tensor, from 0 to below 1.
        hard: zeros and ones. `hard=False` multiplies weights by sigmoid((|l| - c) / T), where c
            lies in the middle between the last score asleep and the first awake, and T is
            `temperature` times the mean score; the mask in the end is the same top.
        temperature: of the soft form, above 0.

    Source: Ramanujan et al. 2020 (edge-popup, arXiv:1911.13299).

    >>> TopK(0.5).awake(torch.tensor([0.1, -0.4, 0.2, 0.1]))
    tensor([False,  True,  True, False])
    """

    asleep: float = 0.5
    hard: bool = True
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_number("TopK", "asleep", self.asleep, lambda f: 0 <= f < 1, "from 0 to below 1")
        check_number("TopK", "temperature", self.temperature, lambda t: t > 0, "above 0")

    @property
    def centre(self) -> float:
        """0: no fixed score parts the two states."""
        return 0.0

    @property
    def first(self) -> float:
        """0: scores start at random."""
        return 0.0

    def gates(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """The mask, or its soft form."""
        return (
            straight_through(self.awake(logits), logits.abs()) if self.hard else self._soft(logits)
        )

    def awake(self, logits: Tensor) -> Tensor:
        """All but the k lowest |l|."""
        scores = logits.detach().abs().flatten()
        k = min(math.floor(self.asleep * scores.numel() + 0.5), scores.numel() - 1)
        if k <= 0:
            return torch.ones_like(logits, dtype=torch.bool)
        last = scores.kthvalue(k).values
        below, tied = scores < last, scores == last
        left = k - below.sum()
        return ~(below | (tied & (tied.cumsum(0) <= left))).view(logits.shape)

    def expected(self, logits: Tensor) -> Tensor:
        """The mask as numbers, or the soft form."""
        if not self.hard:
            return self._soft(logits).detach()
        return self.awake(logits).to(logits.dtype)

    def _soft(self, logits: Tensor) -> Tensor:
        scores, awake = logits.abs(), self.awake(logits)
        fixed = scores.detach()
        if bool(awake.all()):
            return torch.ones_like(scores) + (scores - fixed)
        middle = (fixed[awake].min() + fixed[~awake].max()) / 2
        width = self.temperature * fixed.mean().clamp(min=torch.finfo(fixed.dtype).tiny)
        return ((scores - middle) / width).sigmoid()

    def penalty(self, logits: Tensor) -> None:
        """None."""
        return

    def start(self, place: Place) -> Tensor:
        """Uniform in +-1 / sqrt(inputs per row), from the seed and the name alone."""
        uniform = counter_uniform(
            place.seed,
            step=0,
            name=f"{place.name} (first scores)",
            shape=place.shape,
            device=place.device,
            dtype=place.dtype,
        )
        return (2 * uniform - 1) / math.sqrt(max(place.fan_in, 1))

    def warm(self, place: Place, ranks: Tensor, span: float) -> Tensor:
        """Ranks / sqrt(inputs per row): the same scale, in the order of the ranks."""
        return ranks / math.sqrt(max(place.fan_in, 1))
