"""Divide one total among tensors in proportion to how much their awake units matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import final

from sleepengine.choosing.amount import Amount
from sleepengine.choosing.shares import Asked, Carry, Shares
from sleepengine.errors import ScheduleError, SetupError


@final
@dataclass(frozen=True)
class MeanScore(Shares):
    """k_l = K mean(s_awake,l) / sum of means: wakes go where the awake units score highest.

    K is the amount's quota over all tensors together, and is met exactly. A tensor gets no more
    than it has sleepers; what it cannot take goes to the others in the same proportion. Shares of
    a unit are settled by the largest remainder, ties by tensor order. Where no awake unit
    scores above 0, the sleepers are counted instead.

    Raises:
        SetupError: used by an action that picks the lowest scores, or a mean is negative.

    Source: Dettmers & Zettlemoyer, 2019 (SNFS).
    """

    def check(self, amount: Amount, highest: bool | None) -> None:
        """Raise SetupError for actions that pick the lowest scores."""
        if highest is False:
            raise SetupError("MeanScore() divides wakes: use it in a rule that wakes.")

    def quotas(self, asked: Asked) -> tuple[dict[str, int], Carry]:
        """The total of all tensors, divided by the means."""
        if isinstance(asked.carry, Mapping):
            raise SetupError("MeanScore() keeps one remainder for all tensors: carry is a number.")
        if not asked.tallies:
            return {}, asked.carry
        total, carry = asked.amount.quota(
            reduce(add, asked.tallies.values()), highest=asked.highest, carry=asked.carry
        )
        means = {n: asked.mean_awake(n) for n in asked.tallies}
        for name, mean in means.items():
            if not (math.isfinite(mean) and mean >= 0):
                raise SetupError(
                    f"MeanScore(): the awake units of {name!r} have the mean score {mean:g}; "
                    "shares need finite scores of 0 or more."
                )
        return divide(total, means, {n: t.eligible for n, t in asked.tallies.items()}), carry


def divide(total: int, weights: Mapping[str, float], caps: Mapping[str, int]) -> dict[str, int]:
    """`total` in proportion to `weights`, none above its cap, exact to the unit.

    Raises:
        ScheduleError: the caps together are below the total.

    >>> divide(10, {"a": 3.0, "b": 1.0, "c": 1.0}, {"a": 4, "b": 9, "c": 9})
    {'a': 4, 'b': 3, 'c': 3}
    >>> divide(2, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 9, "b": 9, "c": 9})
    {'a': 1, 'b': 1, 'c': 0}
    """
    if total > sum(caps.values()):
        raise ScheduleError(f"{total} units are asked for and {sum(caps.values())} may be chosen.")
    found = dict.fromkeys(caps, 0)
    open_names = [n for n in caps if caps[n] > 0]
    left = total
    while left > 0:
        parts = {n: weights[n] for n in open_names}
        if not any(parts.values()):
            parts = {n: float(caps[n]) for n in open_names}
        whole = math.fsum(parts.values())
        ideal = {n: left * (part / whole) for n, part in parts.items()}
        full = [n for n in open_names if ideal[n] >= caps[n]]
        if not full:
            found.update(_largest_remainder(left, ideal, caps))
            break
        for name in full:
            found[name] = caps[name]
            left -= caps[name]
        open_names = [n for n in open_names if n not in full]
    return found


def _largest_remainder(
    total: int, ideal: Mapping[str, float], caps: Mapping[str, int]
) -> dict[str, int]:
    """Whole parts first, then one more to the largest remainders, earlier tensors first."""
    found = {n: math.floor(part) for n, part in ideal.items()}
    order = sorted(ideal, key=lambda n: found[n] - ideal[n])
    missing = total - sum(found.values())
    # One round is enough but for the last bit of the sums; the caps always leave room.
    while missing > 0:
        for name in order:
            if missing > 0 and found[name] < caps[name]:
                found[name] += 1
                missing -= 1
    return found
