"""Who is chosen: scores, pools and an amount in, masks out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.choosing.amount import Amount
from sleepengine.choosing.amounts import Below
from sleepengine.choosing.budgets import Budget, Prices
from sleepengine.choosing.field import Field
from sleepengine.choosing.ladder import spend
from sleepengine.choosing.pools import Pools
from sleepengine.choosing.shares import Carry
from sleepengine.errors import SetupError


@dataclass(frozen=True)
class Chosen:
    """The chosen units of every tensor (True = chosen).

    `threshold` is the last score chosen: the highest one where the lowest are chosen, else the
    lowest one; None where nothing was chosen or every group has its own (NofM).
    `carry` goes into the next call of the same rule: what `rate` left over, one number or, with a
    pool per tensor, one per tensor; 0.0 for other amounts.
    """

    masks: dict[str, Tensor]
    threshold: float | None
    carry: Carry


def choose(
    scores: Mapping[str, Tensor],
    pools: Pools,
    amount: Amount | None,
    *,
    asleep: Mapping[str, Tensor],
    eligible: Mapping[str, Tensor],
    highest: bool = False,
    keep_one: bool = True,
    carry: Carry = 0.0,
    shapes: Mapping[str, Sequence[int]] | None = None,
    prices: Prices | None = None,
) -> Chosen:
    """In each pool the k first of the eligible units in the order (score, tensor, flat index).

    Counts are exact and k = floor(f n + 1/2). Equal scores, and -0.0 equals 0.0, go to the lowest
    index, for the highest as for the lowest. Infinite scores are ordered like others.

    Args:
        scores: name -> scores of its units; any real type, higher = keep awake. Nothing is written.
        pools: who competes with whom.
        amount: how much, with numbers in place of curves; None for `NofM`.
        asleep: name -> bool of the same shape, True = asleep now; a missing name has no sleepers.
            For an action on another state (Freeze), True = in that state already.
        eligible: name -> bool of the same shape, True = may be chosen; a missing name is wholly
            eligible, that is, its awake units where the lowest are chosen and, where it has an
            entry in `asleep`, its sleeping units where the highest are.
        highest: choose the highest scores (Wake) instead of the lowest (Sleep, Freeze).
        keep_one: leave every tensor an awake unit when the lowest are chosen. The quota moves to
            the next-lowest scores of the same pool.
        carry: the `carry` of the rule's last call.
        shapes: shapes of the parameters, for shares that go by them; those of the scores if None.
        prices: what the model costs, for budgets of parameters or FLOPs.

    Raises:
        SetupError: the amount does not fit the pools, a mask does not fit its scores, a score is
            NaN, shares do not fit the shapes.
        ScheduleError: a pool has fewer eligible units than its quota.
        CollapseError: the quota cannot be met without emptying a tensor.

    >>> from sleepengine.choosing.amounts import to
    >>> from sleepengine.choosing.pools import Global
    >>> scores = {"a": torch.tensor([5.0, 1.0, 3.0]), "b": torch.tensor([3.0, 9.0])}
    >>> chosen = choose(scores, Global(), to(0.4), asleep={}, eligible={})
    >>> chosen.masks["a"].tolist(), chosen.masks["b"].tolist(), chosen.threshold
    ([False, True, True], [False, False], 3.0)
    """
    pools.check(None, amount, highest)
    for name, values in scores.items():
        _check_numbers(name, values)
        _check_mask(name, values, asleep.get(name), "asleep")
        _check_mask(name, values, eligible.get(name), "eligible")
    field = Field(
        scores,
        _eligible(scores, asleep, eligible, highest),
        {n: asleep[n] for n in scores if n in asleep},
        {n: tuple((shapes or {}).get(n, s.shape)) for n, s in scores.items()},
        highest,
        keep_one,
    )
    if isinstance(amount, Below):
        taken = field.below(amount.threshold)
        return Chosen(taken.masks, taken.edge, 0.0)
    if isinstance(amount, Budget):
        if prices is None:
            raise SetupError(f"{amount!r} needs the prices of nodes: give prices=.")
        taken = spend(pools.ladder(field), amount, prices, field)
        return Chosen(taken.masks, taken.edge, 0.0)
    taken, left = pools.pick(field, amount, carry)
    return Chosen(taken.masks, taken.edge, left)


def _eligible(
    scores: Mapping[str, Tensor],
    asleep: Mapping[str, Tensor],
    eligible: Mapping[str, Tensor],
    highest: bool,
) -> dict[str, Tensor]:
    """Who may be chosen, for the tensors where not everyone may."""
    found: dict[str, Tensor] = {}
    for name in scores:
        able, slept = eligible.get(name), asleep.get(name)
        if highest or slept is None:
            restricted = slept if able is None else able
        else:
            restricted = ~slept if able is None else able & ~slept
        if restricted is not None:
            found[name] = restricted
    return found


def _check_numbers(name: str, scores: Tensor) -> None:
    """Raise unless the scores are real numbers, NaN excluded."""
    if scores.is_complex():
        raise SetupError(f"The scores of {name!r} are {scores.dtype}; scores are real numbers.")
    if not scores.dtype.is_floating_point or scores.numel() == 0:
        return
    # NaN survives a sum, which needs no copy; inf - inf makes one too, so look again.
    if bool(scores.detach().sum().isnan()):
        wrong = int(scores.detach().isnan().count_nonzero())
        if wrong:
            raise SetupError(
                f"{wrong} of {scores.numel()} scores of {name!r} are NaN, which has no place in "
                "an order."
            )


def _check_mask(name: str, scores: Tensor, mask: Tensor | None, what: str) -> None:
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise SetupError(f"{what}[{name!r}] is {mask.dtype}; masks are torch.bool.")
    if mask.shape != scores.shape:
        raise SetupError(
            f"{what}[{name!r}] has shape {tuple(mask.shape)} and its scores have "
            f"{tuple(scores.shape)}; expand scores that broadcast before choosing."
        )
    if mask.device != scores.device:
        raise SetupError(
            f"{what}[{name!r}] is on {mask.device} and its scores are on {scores.device}."
        )
