"""Where the awake network is drawn: its layers in columns, its nodes in each from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.report.mask_pictures import awake_of
from sleepengine.report.records import GroupsLine
from sleepengine.structure.lives import asleep_nodes
from sleepengine.structure.wiring import Vertices, Wiring

MOST_DOTS = 64


@dataclass(eq=False)
class Block:
    """The vertices of one layer in its column; one that is written to again comes again.

    `shown` numbers the vertices that are drawn, `height` says where, from 0 at the bottom to 1.
    """

    vertices: Vertices
    column: int
    awake: int
    shown: Tensor
    is_awake: Tensor
    height: Tensor = field(default_factory=lambda: torch.zeros(0))
    was_read: bool = False


@dataclass(frozen=True)
class Drawing:
    """Blocks, and the lines of awake weights between shown vertices: (n, 4), x and y of two."""

    blocks: tuple[Block, ...]
    lines: Tensor

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 + max((block.column for block in self.blocks), default=-1)


def drawing_of(store: MaskStore, known: GroupsLine) -> Drawing:
    """The awake network of these masks."""
    wiring = Wiring(
        {name: store.shape(name) for name in known.edges}, known.groups, known.depthwise
    )
    every = {name: store.shape(name) for name in store.names()}
    nodes = NodeMasks([replace(group, buffers=()) for group in known.groups], every)
    awake = torch.ones(wiring.size, dtype=torch.bool)
    for one in wiring.vertices:
        if one.layer in wiring.groups:
            awake[one.first : one.first + one.size] = ~asleep_nodes(nodes, store, one.layer)
    places = _Places(wiring, awake)
    ends = [places.ends_of(name) for name in wiring.params]
    blocks = places.blocks
    for column in {block.column for block in blocks}:
        _stack([block for block in blocks if block.column == column])
    pairs = [
        _lines(wiring, store, name, places.owner, own)
        for name, own in zip(wiring.params, ends, strict=True)
    ]
    return Drawing(tuple(blocks), torch.cat(pairs) if pairs else torch.zeros(0, 4))


class _Places:
    """Gives every layer of vertices its column, weight by weight in the order of the model."""

    def __init__(self, wiring: Wiring, awake: Tensor) -> None:
        self.blocks: list[Block] = []
        sizes = enumerate(wiring.vertices)
        self.owner = torch.cat([torch.full((one.size,), i) for i, one in sizes])
        self._wiring = wiring
        self._awake = awake
        self._latest: dict[int, Block] = {}

    def ends_of(self, name: str) -> tuple[Mapping[int, Block], Mapping[int, Block]]:
        """Layer -> block that the weights of a parameter read, and those that they write.

        What was read before and is written to again (a residual sum) gets another column.
        """
        joint = self._wiring[name]
        sources = set(self.owner[joint.source].flatten().tolist())
        targets = set(self.owner[joint.target].flatten().tolist()) - sources
        for source in sources - set(self._latest):
            self._add(source, 1 + max((block.column for block in self.blocks), default=-1))
        read = {source: self._latest[source] for source in sources}
        after = 1 + max(block.column for block in read.values())
        for block in read.values():
            block.was_read = True
        for target in targets:
            known = self._latest.get(target)
            if known is not None and not known.was_read:
                known.column = max(known.column, after)
            elif known is None or known.column < after:
                self._add(target, after)
        return read, {target: self._latest[target] for target in targets}

    def _add(self, number: int, column: int) -> None:
        one = self._wiring.vertices[number]
        own = self._awake[one.first : one.first + one.size]
        shown = few(own)
        block = Block(one, column, int(own.sum()), one.first + shown, own[shown])
        self._latest[number] = block
        self.blocks.append(block)


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


def _stack(blocks: Sequence[Block]) -> None:
    """Blocks of one column share its height by their dots, with a gap of two between them."""
    total = sum(len(block.shown) + 2 for block in blocks) - 2
    top = 0
    for block in blocks:
        block.height = 1.0 - (top + torch.arange(len(block.shown)) + 0.5) / max(1, total)
        top += len(block.shown) + 2


def _lines(
    wiring: Wiring,
    store: MaskStore,
    name: str,
    owner: Tensor,
    ends: tuple[Mapping[int, Block], Mapping[int, Block]],
) -> Tensor:
    """(n, 4): a line for every two shown vertices that an awake weight of the parameter joins."""
    joint, alive = wiring[name], awake_of(store, name)
    alive = alive.flatten(2).any(2) if alive.dim() > 2 else alive
    pairs = torch.stack([joint.source[alive], joint.target[alive]], 1).unique(dim=0)
    found = []
    for i, source in ends[0].items():
        for k, target in ends[1].items():
            own = pairs[(owner[pairs[:, 0]] == i) & (owner[pairs[:, 1]] == k)]
            y = [_heights(block, own[:, j]) for j, block in enumerate((source, target))]
            x = [torch.full_like(y[0], float(block.column)) for block in (source, target)]
            line = torch.stack([x[0], y[0], x[1], y[1]], 1)
            found.append(line[~line.isnan().any(1)])
    return torch.cat(found) if found else torch.zeros(0, 4)


def _heights(block: Block, numbers: Tensor) -> Tensor:
    """Where vertices of a block are drawn, NaN where they are not."""
    one = block.vertices
    table = torch.full((one.size,), torch.nan)
    table[block.shown - one.first] = block.height
    return table[numbers - one.first]
