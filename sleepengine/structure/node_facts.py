"""What is known of each node, in one table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from sleepengine.calls.node_groups import group_of
from sleepengine.structure.awake_network import AwakeNetwork


@final
@dataclass(frozen=True)
class NodeFacts:
    """One node of a group.

    Attributes:
        group, node: where it is.
        awake: whether it is awake now.
        asleep_since: step of its last falling asleep; None where awake.
        times_slept, times_woken: how often, as far as the journal goes back.
        churn: share of its entries that slept at the first known step and are awake now, or the
            other way round.
        dormancy: mean |h| over the mean of the group; None when no batches were given.
    """

    group: str
    node: int
    awake: bool
    asleep_since: int | None
    times_slept: int
    times_woken: int
    churn: float
    dormancy: float | None = None


def node_facts(
    network: AwakeNetwork, layer: str, batches: Iterable[Any] | None = None
) -> tuple[NodeFacts, ...]:
    """The facts of every node of a group, in order.

    Args:
        network: the awake network of an engine.
        layer: a group, or a layer that makes its nodes.
        batches: inputs, or pairs (input, target), to measure dormancy with; None = unknown.

    Raises:
        UnknownNameError: there is no such group.
        SetupError: dormancy cannot be measured.

    >>> import torch
    >>> from torch import nn
    >>> from sleepengine import SleepEngine
    >>> net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[0].weight.copy_(torch.tensor([[3.0], [1.0]]))
    >>> engine = SleepEngine(net, example_inputs=torch.zeros(1, 1))
    >>> engine.sleep_nodes("0", 0), engine.wake_nodes("0", 0), engine.sleep_nodes("0", 1)
    (1, 1, 1)
    >>> for one in node_facts(AwakeNetwork(engine), "0", [torch.ones(4, 1)]):
    ...     print(one.node, one.awake, one.asleep_since, one.times_slept, one.churn, one.dormancy)
    0 True None 1 0.0 2.0
    1 False 0 1 1.0 0.0
    """
    group = group_of(network.engine.live.nodes, layer)
    story = network.lives(group.name)
    since, slept, woken = (
        t.tolist() for t in (story.asleep_since, story.times_slept, story.times_woken)
    )
    awake = network.awake_nodes(group.name).tolist()
    changed = network.churn(group.name).tolist()
    used = None if batches is None else network.dormancy(group.name, batches).tolist()
    return tuple(
        NodeFacts(
            group.name,
            i,
            awake[i],
            None if awake[i] else max(0, since[i]),
            slept[i],
            woken[i],
            changed[i],
            None if used is None else used[i],
        )
        for i in range(group.size)
    )
