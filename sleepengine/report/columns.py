"""Where the awake network is drawn: its layers in columns, its nodes in each from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.report.mask_pictures import awake_of
from sleepengine.report.records import GroupsLine
from sleepengine.structure.lives import asleep_nodes
from sleepengine.structure.wiring import Vertices, Wiring

MOST_DOTS = 64


@dataclass(frozen=True)
class Block:
    """The vertices of one layer in its column; `shown` numbers those that are drawn, by vertex."""

    layer: str
    column: int
    size: int
    awake: int
    shown: Tensor
    is_awake: Tensor
    height: Tensor


@dataclass(frozen=True)
class Drawing:
    """Blocks, and the lines between two shown vertices that an awake weight joins: (n, 2).

    `backwards` names parameters that lead to the same or an earlier column: they have no lines.
    """

    blocks: tuple[Block, ...]
    lines: Tensor
    backwards: tuple[str, ...]

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 + max((block.column for block in self.blocks), default=-1)


def drawing_of(store: MaskStore, known: GroupsLine) -> Drawing:
    """The awake network of these masks."""
    shapes = {name: store.shape(name) for name in known.edges}
    wiring = Wiring(shapes, known.groups, known.depthwise)
    every = {name: store.shape(name) for name in store.names()}
    nodes = NodeMasks([replace(group, buffers=()) for group in known.groups], every)
    places = columns_of(wiring)
    awake = torch.ones(wiring.size, dtype=torch.bool)
    for one in wiring.vertices:
        if one.layer in wiring.groups:
            awake[one.first : one.first + one.size] = ~asleep_nodes(nodes, store, one.layer)
    blocks = _blocks(wiring.vertices, places, awake)
    shown = torch.zeros(wiring.size, dtype=torch.bool)
    for block in blocks:
        shown[block.shown] = True
    column = torch.cat([torch.full((one.size,), places[one.layer]) for one in wiring.vertices])
    pairs, backwards = [], []
    for name in wiring.params:
        joint = wiring[name]
        alive = awake_of(store, name)
        alive = alive.flatten(2).any(2) if alive.dim() > 2 else alive
        source, target = joint.source[alive], joint.target[alive]
        forward = column[source] < column[target]
        if not bool((column[joint.source] < column[joint.target]).all()):
            backwards.append(name)
        seen = shown[source] & shown[target] & forward
        pairs.append(torch.stack([source[seen], target[seen]], 1))
    lines = torch.cat(pairs).unique(dim=0) if pairs else torch.zeros(0, 2, dtype=torch.long)
    return Drawing(blocks, lines, tuple(backwards))


def columns_of(wiring: Wiring) -> dict[str, int]:
    """Layer of vertices -> column: one more than that of the furthest layer it reads.

    Weights are taken in the order of the model; one that would lead back (a loop, as of a residual
    stream) counts for nothing.
    """
    owner = torch.cat([torch.full((v.size,), i) for i, v in enumerate(wiring.vertices)])
    names = [one.layer for one in wiring.vertices]
    before: dict[int, set[int]] = {i: set() for i in range(len(names))}
    for name in wiring.params:
        joint = wiring[name]
        sources = set(owner[joint.source].flatten().tolist())
        for target in set(owner[joint.target].flatten().tolist()):
            for source in sources:
                if source != target and not _reaches(before, target, source):
                    before[target].add(source)
    found: dict[int, int] = {}

    def column(i: int) -> int:
        if i not in found:
            found[i] = 1 + max((column(j) for j in before[i]), default=-1)
        return found[i]

    return {name: column(i) for i, name in enumerate(names)}


def _reaches(before: Mapping[int, set[int]], early: int, late: int) -> bool:
    """Whether `late` reads `early`, directly or through others."""
    waiting, seen = [late], {late}
    while waiting:
        one = waiting.pop()
        if one == early:
            return True
        waiting += [other for other in before[one] if other not in seen]
        seen |= before[one]
    return False


def few(awake: Tensor, most: int = MOST_DOTS, least: int = 12) -> Tensor:
    """At most `most` numbers of nodes, evenly spread, with the share of the awake among them.

    Of the awake at least `least` are among them, or all.

    >>> few(torch.tensor([True, False, False, False] * 2), most=4, least=1)
    tensor([0, 1, 3, 7])
    """
    if len(awake) <= most:
        return torch.arange(len(awake))
    up, down = awake.nonzero().flatten(), (~awake).nonzero().flatten()
    lit = min(len(up), max(least, round(most * len(up) / len(awake))))
    lit = max(lit, most - len(down))
    return torch.cat([_spread(up, lit), _spread(down, most - lit)]).sort().values


def _spread(items: Tensor, k: int) -> Tensor:
    return items[torch.linspace(0, len(items) - 1, k).round().long()] if k else items[:0]


def _blocks(
    vertices: Sequence[Vertices], places: Mapping[str, int], awake: Tensor
) -> tuple[Block, ...]:
    """Every column is as high as the others; its blocks share it by their shown dots."""
    chosen = {
        one.layer: one.first + few(awake[one.first : one.first + one.size]) for one in vertices
    }
    blocks = []
    for column in sorted(set(places.values())):
        own_blocks = [one for one in vertices if places[one.layer] == column]
        gaps = 2 * (len(own_blocks) - 1)
        total = sum(len(chosen[one.layer]) for one in own_blocks) + gaps
        top = 0
        for one in own_blocks:
            shown = chosen[one.layer]
            height = 1.0 - (top + torch.arange(len(shown)) + 0.5) / max(1, total)
            top += len(shown) + 2
            own = awake[one.first : one.first + one.size]
            blocks.append(
                Block(one.layer, column, one.size, int(own.sum()), shown, awake[shown], height)
            )
    return tuple(blocks)
