"""What competes in one firing: scores, who may be chosen, who sleeps; how a quota is taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.choosing.amount import Tally
from sleepengine.choosing.select import pick_lowest
from sleepengine.errors import CollapseError, ScheduleError

# Scores are summed in float64 this many at a time.
_PART = 1 << 20


@dataclass(frozen=True)
class Taken:
    """Chosen units per tensor, and the last score chosen (None when nothing was)."""

    masks: dict[str, Tensor]
    edge: float | None


@dataclass(frozen=True)
class Field:
    """Scores and masks of one firing, all keyed and shaped alike; a missing mask is wholly True.

    `eligible` and `asleep` hold only the tensors that are restricted or have sleepers.
    `shapes` are those of the parameters, which shares go by.
    """

    scores: Mapping[str, Tensor]
    eligible: Mapping[str, Tensor]
    asleep: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    highest: bool
    keep_one: bool

    def tally(self, name: str) -> Tally:
        """How many units a tensor has, how many may be chosen, how many sleep."""
        units = self.scores[name].numel()
        able, asleep = self.eligible.get(name), self.asleep.get(name)
        return Tally(
            units,
            units if able is None else int(able.count_nonzero()),
            0 if asleep is None else int(asleep.count_nonzero()),
        )

    def take(self, tallies: Mapping[str, Tally], quota: int) -> Taken:
        """The `quota` first eligible units of these tensors together.

        Where the floor holds, a tensor keeps its last awake unit and the quota moves on to the
        next scores of the others.

        Raises:
            ScheduleError: fewer units are eligible than asked for.
            CollapseError: the quota cannot be met without emptying a tensor.
        """
        check_reach(tallies, quota)
        taken = self._lowest(tallies, self.eligible, quota)
        if not self._emptied(tallies, taken.masks):
            return taken
        # The last unit of a tensor in the order is the last to go, so a tensor is emptied exactly
        # when that unit is taken: setting it aside everywhere changes nothing else.
        last = [n for n, t in tallies.items() if 0 < t.awake == t.eligible]
        room = sum(t.eligible for t in tallies.values()) - len(last)
        if quota > room:
            raise CollapseError(
                _collapse(tallies, self._emptied(tallies, taken.masks), quota, room)
            )
        spared = {**self.eligible, **{n: self._without_top(n) for n in last}}
        return self._lowest(tallies, spared, quota)

    def below(self, threshold: float) -> Taken:
        """Every eligible unit with score <= threshold, but for a tensor's last awake one."""
        masks: dict[str, Tensor] = {}
        edges: list[float] = []
        for name, scores in self.scores.items():
            mask = scores.detach() <= threshold
            if name in self.eligible:
                mask &= self.eligible[name]
            if self._emptied({name: self.tally(name)}, {name: mask}):
                mask &= self._without_top(name)
            masks[name] = mask
            if bool(mask.any()):
                edges.append(float(scores[mask].max()) + 0.0)
        return Taken(masks, max(edges, default=None))

    def mean_awake(self, name: str) -> float:
        """The mean score of the awake units of a tensor, in float64; 0 when all sleep."""
        flat = self.scores[name].detach().reshape(-1)
        asleep = self.asleep.get(name)
        bits = None if asleep is None else asleep.reshape(-1)
        total, awake = 0.0, 0
        for start in range(0, flat.numel(), _PART):
            part = flat[start : start + _PART]
            if bits is not None:
                part = part[~bits[start : start + _PART]]
            total += float(part.sum(dtype=torch.float64))
            awake += part.numel()
        return total / awake if awake else 0.0

    def check_floor(self, tallies: Mapping[str, Tally], masks: Mapping[str, Tensor]) -> None:
        """Raise CollapseError when the masks empty a tensor that must keep one unit."""
        emptied = self._emptied(tallies, masks)
        if emptied:
            raise CollapseError(
                f"Every awake unit would be chosen: {_numbers(emptied, tallies)}. "
                "Ask for less, or allow empty tensors."
            )

    def _lowest(self, names: Iterable[str], eligible: Mapping[str, Tensor], quota: int) -> Taken:
        pairs = [(self.scores[n], eligible.get(n)) for n in names]
        picked = pick_lowest(pairs, quota, highest=self.highest)
        return Taken(dict(zip(names, picked.masks, strict=True)), picked.edge)

    def _emptied(self, tallies: Mapping[str, Tally], masks: Mapping[str, Tensor]) -> list[str]:
        """The tensors that would lose their last awake unit; none where there is no floor."""
        if self.highest or not self.keep_one:
            return []
        return [
            n
            for n, t in tallies.items()
            if 0 < t.awake == t.eligible and int(masks[n].count_nonzero()) == t.awake
        ]

    def _without_top(self, name: str) -> Tensor:
        """The eligible units but the last in the order: highest score, then highest index."""
        scores = self.scores[name].detach()
        known = self.eligible.get(name)
        able = torch.ones_like(scores, dtype=torch.bool) if known is None else known.clone()
        top = scores[able].max()
        spot = ((scores == top) & able).reshape(-1).nonzero()[-1, 0]
        able = able.contiguous()
        able.view(-1)[spot] = False
        return able


def check_reach(tallies: Mapping[str, Tally], quota: int) -> None:
    """Raise ScheduleError when more units are asked for than may be chosen."""
    able = sum(t.eligible for t in tallies.values())
    if quota > able:
        raise ScheduleError(
            f"{quota} units are asked for and {able} may be chosen: {_numbers(tallies, tallies)}. "
            "The others are asleep or awake already, frozen, or filtered out."
        )


def _collapse(tallies: Mapping[str, Tally], emptied: Iterable[str], quota: int, room: int) -> str:
    return (
        f"Choosing {quota} units would empty {_numbers(emptied, tallies)}. With one awake unit "
        f"kept in each tensor {room} can be chosen. Ask for less, or allow empty tensors."
    )


def _numbers(names: Iterable[str], tallies: Mapping[str, Tally]) -> str:
    """`'fc1' (4 of 10 may be chosen, 2 asleep)`, for the first few."""
    listed = list(names)
    shown = ", ".join(
        f"{n!r} ({tallies[n].eligible} of {tallies[n].units} may be chosen, "
        f"{tallies[n].asleep} asleep)"
        for n in listed[:6]
    )
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return (shown or "no tensor") + more
