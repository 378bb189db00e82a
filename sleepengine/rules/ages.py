"""Filters that remember are told of every transaction, whoever caused it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, final

from schedules import Clock
from sleepengine.actions.live import Live
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.planes import Changes
from sleepengine.nodes.units import Nodes
from sleepengine.rules.rule import Rule


@final
class Restarted(NamedTuple):
    """What one action reset: as it was chosen (weights or nodes), and the weights of it."""

    chosen: Choice
    entries: Choice


def of_nodes(reset: Iterable[Restarted]) -> Choice:
    """The nodes that were reset; those whose weights were chosen one by one are not among them."""
    found = Choice.empty(Layer.NODES)
    for one in reset:
        if one.chosen.layer is Layer.NODES:
            found = found.union(one.chosen)
    return found


def tell_filters(
    rules: Iterable[Rule],
    names_of: Callable[[Rule], Sequence[str]],
    live: Live,
    clock: Clock,
    changes: tuple[Changes, Changes],
    reset: Sequence[Restarted],
) -> None:
    """Each filter once, with what woke or was reset among the weights, or nodes, of its rule.

    `changes` are the net changes of the weights, and of the nodes.
    """
    told: set[int] = set()
    for rule in rules:
        who = rule.who
        if who is None or not who.filters:
            continue
        if isinstance(who.units, Nodes):
            store, woke = live.nodes.store, changes[1].woke
            fresh = [one.chosen for one in reset if one.chosen.layer is Layer.NODES]
        else:
            names = names_of(rule)
            store, woke = live.store, changes[0].woke.only(names)
            fresh = [one.entries.only(names) for one in reset]
        for one in who.filters:
            if id(one) not in told:
                for choice in (woke, *fresh):
                    one.changed(choice, clock, store)
        told |= {id(one) for one in who.filters}
