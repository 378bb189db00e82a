"""From a rule and its signals to a choice of weights: score, pool, choose, spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from saliency import CompensatingScorer, Signals
from schedules import Clock
from sleepengine.choosing.choose import choose
from sleepengine.choosing.shares import Carry
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore
from sleepengine.rules.rule import Rule


@dataclass(frozen=True)
class Picked:
    """The chosen weights, the last score chosen, and what a rate carries to its next firing.

    update: what the survivors are to gain, for an action that compensates.
    """

    choice: Choice
    threshold: float | None = None
    carry: Carry = 0.0
    update: Mapping[str, Tensor] = field(default_factory=dict)


def everything(rule: Rule, store: MaskStore, names: Sequence[str]) -> Picked:
    """All eligible weights, for actions that take no `who`."""
    masks = {}
    for name in names:
        mask = rule.what.eligible(store, name)
        masks[name] = torch.ones(store.shape(name), dtype=torch.bool) if mask is None else mask
    return Picked(Choice(masks))


def pick(
    rule: Rule,
    names: Sequence[str],
    signals: Signals,
    store: MaskStore,
    clock: Clock,
    carry: Carry = 0.0,
) -> Picked:
    """Choose the weights of one rule against the working masks of its transaction.

    Raises:
        SetupError: if the scorer left out a parameter or its scores do not fit.
        CollapseError: if a tensor would lose its last awake unit.
    """
    who, action = rule.who, rule.what
    if who is None:
        return everything(rule, store, names)
    scores = scores_of(rule, names, signals, store)
    eligible = {name: eligible_of(rule, store, name, clock) for name in names}
    counted = {name: m for name in names if (m := action.counted(store, name)) is not None}
    amount = None if who.amount is None else who.amount.at(rule.progress(clock))
    shapes = {name: store.shape(name) for name in names}
    chosen = choose(
        who.units.pool(scores),
        who.pools,
        amount,
        asleep=who.units.all_of(counted),
        eligible=who.units.any_of({n: m for n, m in eligible.items() if m is not None}),
        highest=action.highest,
        keep_one=action.empties and not who.allow_empty,
        carry=carry,
        shapes=shapes,
    )
    masks: dict[str, Tensor] = {}
    for name, mask in who.units.spread(chosen.masks, shapes).items():
        free = eligible[name]
        masks[name] = mask if free is None else mask & free
    choice = Choice(masks)
    return Picked(choice, chosen.threshold, chosen.carry, _update(rule, choice, signals))


def eligible_of(rule: Rule, store: MaskStore, name: str, clock: Clock) -> Tensor | None:
    """Which entries of a tensor (or nodes of a group, with their store) the rule may choose."""
    mask = rule.what.eligible(store, name)
    for one in () if rule.who is None else rule.who.filters:
        allowed = one.allows(store, name, clock)
        if allowed is not None:
            mask = allowed if mask is None else mask & allowed.to(mask.device)
    return mask


def scores_of(
    rule: Rule, names: Sequence[str], signals: Signals, store: MaskStore
) -> Mapping[str, Tensor]:
    """The scores of each parameter, in its shape; equal ones for a rule without a scorer."""
    scorer = None if rule.who is None else rule.who.scorer
    if scorer is None:
        return {n: signals.weights[n].new_zeros(()).expand(store.shape(n)) for n in names}
    with torch.no_grad():
        found = scorer.score(signals)
    if not isinstance(found, Mapping):
        raise SetupError(
            f"rule {rule.name!r}: {scorer!r}.score() returned {type(found).__name__}, not "
            "name -> scores"
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise SetupError(f"rule {rule.name!r}: {scorer!r} gave no scores for {missing[:5]}")
    scores: dict[str, Tensor] = {}
    for name in names:
        try:
            scores[name] = found[name].detach().expand(store.shape(name))
        except RuntimeError as error:
            raise SetupError(
                f"rule {rule.name!r}: {scorer!r} gave scores of shape {tuple(found[name].shape)} "
                f"for {name} of shape {tuple(store.shape(name))}"
            ) from error
    return scores


def _update(rule: Rule, choice: Choice, signals: Signals) -> Mapping[str, Tensor]:
    """What the scorer lets the survivors gain; nothing unless the action compensates."""
    scorer = None if rule.who is None else rule.who.scorer
    if not rule.what.compensates or not isinstance(scorer, CompensatingScorer):
        return {}
    chosen = {name: mask for name, mask in choice.masks.items() if bool(mask.any())}
    with torch.no_grad():
        return scorer.compensate(chosen, signals) if chosen else {}
