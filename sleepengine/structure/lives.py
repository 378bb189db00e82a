"""The lives of nodes, read from the journal: asleep since, times woken, churn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.journal.frames import store_of
from sleepengine.journal.journal import Journal
from sleepengine.masks.choice import Kind
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.slices import gathered


@final
@dataclass(frozen=True, repr=False)
class Lives:
    """What happened to the nodes of one group; every tensor is int64 (size,).

    Attributes:
        group: its name.
        asleep_since: step of the last falling asleep, -1 where awake.
        times_slept: how often each fell asleep.
        times_woken: how often each woke.
    """

    group: str
    asleep_since: Tensor
    times_slept: Tensor
    times_woken: Tensor

    def __repr__(self) -> str:
        """Counts instead of tensors."""
        asleep = int((self.asleep_since >= 0).sum())
        return (
            f"Lives({self.group}: {asleep}/{self.asleep_since.numel()} asleep, "
            f"slept {int(self.times_slept.sum())}, woken {int(self.times_woken.sum())} times)"
        )


def lives(journal: Journal, nodes: NodeMasks, group: str) -> Lives:
    """Every transaction of the journal's latest run counts; one that nets to nothing does not.

    Nodes that slept when the known part begins count from its first step, as one sleep.
    """
    size = nodes.groups[group].size
    since = torch.full((size,), -1, dtype=torch.int64)
    slept, woken = torch.zeros_like(since), torch.zeros_like(since)
    for step, store in _transactions(journal):
        asleep = asleep_nodes(nodes, store, group)
        falls, wakes = asleep & (since < 0), ~asleep & (since >= 0)
        slept += falls
        woken += wakes
        since[falls] = step
        since[wakes] = -1
    return Lives(group, since, slept, woken)


def asleep_nodes(nodes: NodeMasks, store: MaskStore, group: str) -> Tensor:
    """Bool (size,): the nodes whose every entry sleeps as that of a sleeping node.

    >>> from sleepengine.masks.choice import Choice, Layer
    >>> from sleepengine.nodes.slices import Slice
    >>> shapes = {"a": torch.Size([2, 1])}
    >>> nodes, store = NodeMasks([NodeGroup("a", 2, [Slice("a")])], shapes), MaskStore(shapes)
    >>> _ = nodes.sleep(Choice({"a": torch.tensor([False, True])}, Layer.NODES), store)
    >>> asleep_nodes(nodes, store, "a").tolist()
    [False, True]
    """
    whole = nodes.whole(Kind.ASLEEP, store)
    if group not in whole.names:
        return torch.zeros(nodes.groups[group].size, dtype=torch.bool)
    return whole[group].cpu()


def first_known(journal: Journal) -> MaskStore:
    """The masks with which the known part of the latest run begins."""
    parts = journal.parts()
    return store_of(parts.history.at(parts.timeline.lap_start()), parts.history.shapes)


def churn(before: MaskStore, after: MaskStore, group: NodeGroup) -> Tensor:
    """Of each node's entries the share that sleeps in one of two stores alone; (size,)."""
    slices = group.slices()
    changed = []
    for one in slices:
        masks = [_awake(store, one.param) for store in (before, after)]
        changed.append(masks[0] ^ masks[1])
    lines = gathered(slices, changed, group.size)
    return torch.stack([line.double().mean() for line in lines])


def _awake(store: MaskStore, name: str) -> Tensor:
    awake = store.awake(name)
    return torch.ones(store.shape(name), dtype=torch.bool) if awake is None else awake.cpu()


def _transactions(journal: Journal) -> Iterator[tuple[int, MaskStore]]:
    """(step, masks) at the start, then after every transaction of the latest run."""
    try:
        parts = journal.parts()
    except SetupError:  # nothing was done yet
        return
    timeline, history = parts.timeline, parts.history
    here = timeline.lap_start()
    bits = history.at(here)
    yield timeline.first_step, store_of(bits, history.shapes)
    for one in timeline.in_lap():
        history.advance(bits, here, one.after)
        here = one.after
        yield one.step, store_of(bits, history.shapes)
