"""The node groups of an engine: given by hand, named by rules, or found from the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sleepengine.actions.live import Live
from sleepengine.calls.node_groups import warn_of
from sleepengine.engine import setup
from sleepengine.firing.agenda import reads_gradients
from sleepengine.firing.node_picking import bound
from sleepengine.nodes.group import NodeGroup, by_name
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.units import Nodes
from sleepengine.nodes.work import Work, work_of
from sleepengine.rules.rule import Rule


def node_masks(
    live: Live, given: Sequence[NodeGroup], example_inputs: Any, rules: Iterable[Rule]
) -> NodeMasks:
    """The groups of the engine: those given, those of the rules, and what is found beside them.

    A found group is left out where a layer's outputs are in a group that was given.

    Raises:
        SetupError: a group does not fit the model, or two share a name.
    """
    own = [rule.who.units for rule in rules if rule.who is not None]
    named = [group for units in own if isinstance(units, Nodes) for group in units.groups]
    groups = list(by_name([*given, *named]).values())
    left_out: Mapping[str, str] = {}
    work: Callable[[], Work] | None = None
    if example_inputs is not None:
        work = cache(lambda: work_of(live.model, example_inputs))
        from sleepengine.nodes.found import find_groups

        taken = {layer for group in groups for layer in group.layers}
        names = {group.name for group in groups}
        found = find_groups(live.model, example_inputs)
        groups += [g for g in found if not taken & set(g.layers) and g.name not in names]
        left_out = found.left_out
    shapes = {name: p.shape for name, p in live.params.items()}
    devices = {name: p.device for name, p in live.params.items()}
    return NodeMasks(groups, shapes, devices, live.held.shapes(), left_out, work)


def names_of(live: Live, rule: Rule, scope: tuple[str, ...]) -> tuple[str, ...]:
    """The parameters that a rule scores: its nodes' weights, its own patterns, or the scope."""
    units = bound(rule, live.nodes)
    if units is not None:
        rule.what.check_nodes()
        return units.scored
    patterns = None if rule.who is None else rule.who.patterns
    return scope if patterns is None else setup.scope(live.model, patterns)


def armed(live: Live, rules: Iterable[Rule], scope: tuple[str, ...]) -> tuple[str, ...]:
    """The parameters whose gradients in the training loop a rule may ask for."""
    readers = [rule for rule in rules if reads_gradients(rule)]
    return tuple(dict.fromkeys(n for rule in readers for n in names_of(live, rule, scope)))


def warn(live: Live, rules: Iterable[Rule]) -> None:
    """Say which rules choose among nodes that something reads without weights, by name."""
    for rule in rules:
        units = bound(rule, live.nodes)
        for group in () if units is None else units.groups:
            warn_of(group, f"rule {rule.name!r}: ", stacklevel=4)
