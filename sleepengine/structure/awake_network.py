"""The awake network of an engine, now or at any step that the journal knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.calls.node_groups import group_of
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.masks.choice import Kind
from sleepengine.masks.matrices import counts_matrix
from sleepengine.masks.store import MaskStore
from sleepengine.structure.dormancy import dormancy
from sleepengine.structure.lives import Lives, asleep_nodes, churn, first_known, lives
from sleepengine.structure.wiring import Joint, Wiring


@final
@dataclass(frozen=True)
class Edges:
    """Weights of one parameter that lead from one vertex to another; all tensors are 1-D.

    Attributes:
        param: name of the parameter.
        source, target: vertex numbers.
        awake, total: how many of the pair's weights are awake, and how many there are.
    """

    param: str
    source: Tensor
    target: Tensor
    awake: Tensor
    total: Tensor


@final
class AwakeNetwork:
    """Neurons, channels and units as vertices, awake weights as edges.

    Vertices are numbered; `wiring.names()` gives their names, as "fc1:3". A layer without groups
    (an engine without `example_inputs=` or `nodes=`) has inputs and outputs of its own.

    Args:
        engine: whose model and journal are meant.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> engine = SleepEngine(net, example_inputs=torch.zeros(1, 2))
    >>> engine.sleep_weights("0", (0, 1)), engine.sleep_nodes("0", 1)
    (1, 1)
    >>> AwakeNetwork(engine).adjacency("0").toarray().tolist()
    [[1, 0], [0, 0]]
    """

    def __init__(self, engine: SleepEngine) -> None:
        self.engine = engine
        nodes, params = engine.live.nodes, engine.live.params
        owned = {
            one.param
            for group in nodes.groups.values()
            for one in (*group.produces, *group.consumes)
        }
        shapes = {
            name: engine.store.shape(name)
            for name in params
            if len(engine.store.shape(name)) >= 2 and (name in owned or name in engine.scope)
        }
        self.wiring = Wiring(shapes, nodes.groups.values(), _depthwise(engine.live.model))

    def store(self, step: int | None = None) -> MaskStore:
        """The masks now, or after a step.

        Raises:
            SetupError: the journal has not begun, or has forgotten the step.
        """
        return self.engine.store if step is None else self.engine.journal.masks_at(step)

    def adjacency(self, layer: str | None = None, step: int | None = None) -> Any:
        """A SciPy CSR array of how many awake weights join two vertices.

        Args:
            layer: a layer or parameter: rows are its outputs and columns its inputs, in the order
                of its weight ("out_in"). None = the whole network: row u, column v counts the
                weights that lead from vertex u to vertex v.
            step: None = now.

        Raises:
            UnknownNameError: the layer has no weights that are edges.
            SetupError: SciPy is missing, or the step is forgotten.
        """
        store = self.store(step)
        if layer is not None:
            _ = self.wiring[layer]  # raises for a layer without edges
            name = layer if layer in self.wiring.params else f"{layer}.weight"
            awake, _ = _counts(store, name)
            rows, columns = awake.nonzero().unbind(1)
            return counts_matrix(rows, columns, awake[rows, columns], awake.shape)
        edges = list(self.edges(step))
        size = (self.wiring.size, self.wiring.size)
        if not edges:
            none = torch.zeros(0, dtype=torch.long)
            return counts_matrix(none, none, none, size)
        sources, targets = (
            torch.cat([e.source for e in edges]),
            torch.cat([e.target for e in edges]),
        )
        return counts_matrix(sources, targets, torch.cat([e.awake for e in edges]), size)

    def edges(self, step: int | None = None) -> Iterator[Edges]:
        """The edges of every parameter, those without an awake weight left out."""
        store = self.store(step)
        for name in self.wiring.params:
            joint = self.wiring[name]
            awake, each = _counts(store, name)
            pairs, place = _pairs(joint, self.wiring.size)
            sums = torch.zeros(len(pairs), dtype=torch.long)
            sums = sums.index_add(0, place, awake.flatten())
            totals = place.bincount(minlength=len(pairs)) * each
            alive = sums > 0
            source, target = pairs // self.wiring.size, pairs % self.wiring.size
            yield Edges(name, source[alive], target[alive], sums[alive], totals[alive])

    def awake_vertices(self, step: int | None = None) -> Tensor:
        """Bool, by vertex: False for sleeping nodes; inputs and outputs are always awake."""
        store = self.store(step)
        awake = torch.ones(self.wiring.size, dtype=torch.bool)
        for one in self.wiring.vertices:
            if one.layer in self.wiring.groups:
                asleep = asleep_nodes(self.engine.live.nodes, store, one.layer)
                awake[one.first : one.first + one.size] = ~asleep
        return awake

    def masks(self, joined: Mapping[str, Tensor], awake: Tensor) -> dict[str, Tensor]:
        """Parameter -> bool mask, True = awake, for `engine.set_masks`.

        Args:
            joined: parameter -> bool of its shape, True where its weight is an edge.
            awake: bool by vertex; what belongs to a sleeping node sleeps, its bias too.
        """
        masks = {name: joined[name] for name in self.wiring.params}
        for one in self.wiring.vertices:
            group = self.wiring.groups.get(one.layer)
            if group is None:
                continue
            asleep = ~awake[one.first : one.first + one.size]
            shapes = {name: self.engine.store.shape(name) for name in group.params}
            for name, mask in group.spread(asleep, shapes).items():
                masks[name] = masks.get(name, torch.ones(shapes[name], dtype=torch.bool)) & ~mask
        return masks

    def lives(self, layer: str) -> Lives:
        """Of each node of a group: asleep since when, and how often it slept and woke."""
        group = group_of(self.engine.live.nodes, layer)
        return lives(self.engine.journal, self.engine.live.nodes, group.name)

    def awake_nodes(self, layer: str, step: int | None = None) -> Tensor:
        """Bool, by node of a group."""
        group = group_of(self.engine.live.nodes, layer)
        return ~asleep_nodes(self.engine.live.nodes, self.store(step), group.name)

    def churn(self, layer: str, a: int | None = None, b: int | None = None) -> Tensor:
        """Of each node's entries the share that sleeps after one of two steps alone.

        None for `a` is the first state that the journal knows, None for `b` is now.
        """
        group = group_of(self.engine.live.nodes, layer)
        journal = self.engine.journal
        if a is None:
            before = first_known(journal) if journal.begun else self.store()
        else:
            before = self.store(a)
        return churn(before, self.store(b), group)

    def dormancy(self, layer: str, batches: Iterable[Any]) -> Tensor:
        """Of each node mean |h| over the mean of its group, h being what its readers receive.

        Sokar et al. 2023 call a node dormant at or below 0.025, or 0.1.

        Args:
            layer: a group, or a layer that makes its nodes.
            batches: inputs, or pairs (input, target); the model runs on them in eval mode.

        Raises:
            SetupError: nobody reads the nodes with weights, or the readers' inputs cannot be seen.
        """
        return dormancy(self.engine.live, group_of(self.engine.live.nodes, layer), batches)

    def awake_counts(self, step: int | None = None) -> dict[str, tuple[int, int]]:
        """Group -> (nodes awake, nodes)."""
        store, nodes = self.store(step), self.engine.live.nodes
        whole = nodes.whole(Kind.ASLEEP, store)
        return {
            name: (group.size - (int(whole[name].sum()) if name in whole.names else 0), group.size)
            for name, group in nodes.groups.items()
        }


def _depthwise(model: nn.Module) -> Iterator[str]:
    """Weights of convolutions that have a group for every channel."""
    for name, module in model.named_modules():
        if not isinstance(module, nn.modules.conv._ConvNd):
            continue
        if 1 < module.groups == module.out_channels == module.in_channels:
            yield f"{name}.weight" if name else "weight"


def awake_mask(store: MaskStore, name: str) -> Tensor:
    """Bool tensor on the CPU, True = awake."""
    awake = store.awake(name)
    return torch.ones(store.shape(name), dtype=torch.bool) if awake is None else awake.cpu()


def _counts(store: MaskStore, name: str) -> tuple[Tensor, int]:
    """How many weights are awake at each (d0, d1), and how many there are."""
    flat = awake_mask(store, name).flatten(2) if len(store.shape(name)) > 2 else None
    if flat is None:
        return awake_mask(store, name).long(), 1
    return flat.sum(2), flat.shape[2]


def _pairs(joint: Joint, size: int) -> tuple[Tensor, Tensor]:
    """The pairs of vertices (source times `size` plus target), and the pair of every place."""
    keys = (joint.source * size + joint.target).flatten()
    found: tuple[Tensor, Tensor] = torch.unique(keys, return_inverse=True)
    return found
