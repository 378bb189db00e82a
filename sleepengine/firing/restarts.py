"""Scorers that remember are told which weights are others now: those that were reset or woke."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sleepengine.actions.live import Live
from sleepengine.firing.node_picking import bound
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.planes import Changes
from sleepengine.rules.ages import Restarted, of_nodes
from sleepengine.rules.rule import Rule


def tell_scorers(
    rules: Iterable[Rule],
    names_of: Callable[[Rule], Sequence[str]],
    live: Live,
    changes: tuple[Changes, Changes],
    reset: Sequence[Restarted],
    step: int,
) -> None:
    """Each accumulating scorer once; a rule over nodes of the side that it scores.

    The other sides of a node belong to the histories of other nodes.
    """
    told: set[int] = set()
    for rule in rules:
        scorer = None if rule.who is None else rule.who.scorer
        if scorer is None or not scorer.accumulates or id(scorer) in told:
            continue
        told.add(id(scorer))
        units = bound(rule, live.nodes)
        if units is None:
            names = names_of(rule)
            entries = changes[0].woke.only(names)
            for one in reset:
                if one.chosen.layer is Layer.WEIGHTS:
                    entries = entries.union(one.entries.only(names))
        else:
            nodes = of_nodes(reset).union(changes[1].woke.on_layer(Layer.NODES))
            own = Choice(
                {g.name: nodes[g.name] for g in units.groups if g.name in nodes}, Layer.NODES
            )
            entries = live.nodes.entries(own, units.over)
        found = {name: mask for name, mask in entries.masks.items() if bool(mask.any())}
        if found:
            scorer.restarted(found, step)
