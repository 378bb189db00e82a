"""From a rule over nodes and its signals to a choice of nodes: score, pool, choose."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saliency import Signals
from schedules import Clock
from sleepengine.choosing.budgets import Budget, Prices, ToFlops
from sleepengine.choosing.choose import choose
from sleepengine.choosing.shares import Carry
from sleepengine.errors import SetupError
from sleepengine.firing.mean_transfer import check_transfer, gains
from sleepengine.firing.picking import Picked, eligible_of, scores_of
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.units import Nodes
from sleepengine.rules.rule import Rule, Who


def bound(rule: Rule, nodes: NodeMasks) -> Nodes | None:
    """The rule's nodes over the engine's groups; None for a rule over weights.

    Raises:
        SetupError: there is no group, a name matches none, or FLOPs cannot be counted.
    """
    who = rule.who
    if rule.what.transfers:
        check_transfer(rule)
    if who is None or not isinstance(who.units, Nodes):
        return None
    if isinstance(who.amount, ToFlops) and nodes.work is None:
        raise SetupError(
            f"rule {rule.name!r}: {who.amount!r} counts the operations of a forward pass: give the "
            "engine example_inputs=, or write to_parameters()"
        )
    return who.units.bound(nodes.groups, who.patterns)


def pick_nodes(
    rule: Rule,
    who: Who,
    units: Nodes,
    signals: Signals,
    store: MaskStore,
    nodes: NodeMasks,
    clock: Clock,
    weights: Mapping[str, Tensor],
    carry: Carry = 0.0,
) -> Picked:
    """Choose the nodes of one rule; every group is a tensor of `size` units to the pools.

    `weights` are all of the model as the transaction leaves them so far.

    Raises:
        SetupError: the scorer left out a parameter or its scores do not fit.
        CollapseError: a group would lose its last awake node.
    """
    action = rule.what
    scores = units.divided(units.pool(scores_of(rule, units.scored, signals, store)), weights)
    kept = nodes.store
    eligible: dict[str, Tensor] = {}
    for name in scores:
        mask = eligible_of(rule, kept, name, clock)
        if mask is not None:
            eligible[name] = mask.to(scores[name].device)
    counted = {n: m for n in scores if (m := action.counted(kept, n)) is not None}
    chosen = choose(
        scores,
        who.pools,
        None if who.amount is None else who.amount.at(rule.progress(clock)),
        asleep={n: m.to(scores[n].device) for n, m in counted.items()},
        eligible=eligible,
        highest=action.highest,
        keep_one=action.empties and not who.allow_empty,
        carry=carry,
        shapes={n: torch.Size([s.numel()]) for n, s in scores.items()},
        prices=_prices(rule, who, nodes),
    )
    masks = {n: m & eligible[n] if n in eligible else m for n, m in chosen.masks.items()}
    choice = Choice(masks, Layer.NODES)
    update = gains(who.scorer, nodes, choice, weights) if rule.what.transfers else {}
    return Picked(choice, chosen.threshold, chosen.carry, update)


def _prices(rule: Rule, who: Who, nodes: NodeMasks) -> Prices | None:
    """For a budget: the price of nodes, where those that the action counts already are gone."""
    if not isinstance(who.amount, Budget):
        return None
    counted = ((name, rule.what.counted(nodes.store, name)) for name in nodes.groups)
    return nodes.prices({name: mask for name, mask in counted if mask is not None})
