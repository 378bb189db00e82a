"""The direct calls of an engine on nodes: neurons, channels, heads and units."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from sleepengine.actions.action import Action
from sleepengine.actions.freeze import Freeze, Thaw
from sleepengine.actions.live import Live
from sleepengine.actions.reset import Reset
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.values import ValuePolicy
from sleepengine.actions.wake import Wake
from sleepengine.calls.direct_calls import DirectCalls, LayerView
from sleepengine.calls.node_groups import group_of, warn_of
from sleepengine.calls.states import NodeState, SleepState
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.positions import to_mask
from sleepengine.masks.store import MaskStore
from sleepengine.names import parameter_of


class NodeCalls(DirectCalls, ABC):
    """`layer` is a node group's name, or a layer whose outputs are its nodes.

    `where` is an index, a list of indices, a slice, a bool mask, or `...` for all. Every call
    returns how many nodes changed.

    Raises (every call, before anything changes):
        SetupError: no such group, or an index out of range.
    """

    live: Live

    def sleep_nodes(self, layer: str, where: Any = ...) -> int:
        """Put nodes to sleep, with their weights on both sides, bias and normalisation."""
        return self._nodes(Sleep(include_frozen=True), layer, where, MaskStore.asleep_count, True)

    def wake_nodes(
        self,
        layer: str,
        where: Any = ...,
        value: str | ValuePolicy = "parked",
        state: str | StatePolicy = "keep",
        outgoing: str | ValuePolicy = "parked",
    ) -> int:
        """Wake nodes: `value` is that of the incoming side, `outgoing` of what reads them."""
        return self._nodes(Wake(value, state, outgoing), layer, where, MaskStore.asleep_count)

    def freeze_nodes(self, layer: str, where: Any = ...) -> int:
        """Freeze nodes: weights on both sides, bias, normalisation and its statistics."""
        return self._nodes(Freeze(), layer, where, MaskStore.frozen_count)

    def freeze_pathway(self, pathway: Mapping[str, Any]) -> int:
        """Freeze nodes of several layers at once: {layer: where}, all of them or none."""
        chosen = [self._chosen(layer, where) for layer, where in pathway.items()]
        if not chosen:
            raise SetupError("freeze_pathway({}): name a layer and its nodes, as {'fc1': [0, 3]}")
        before = self.live.nodes.store.frozen_count()
        self.act(Freeze(), reduce(Choice.union, chosen))
        return self.live.nodes.store.frozen_count() - before

    def thaw_nodes(self, layer: str, where: Any = ...) -> int:
        """Thaw nodes."""
        return self._nodes(Thaw(), layer, where, MaskStore.frozen_count)

    def reset_nodes(
        self,
        layer: str,
        where: Any = ...,
        value: str | ValuePolicy = "fresh",
        outgoing: str | ValuePolicy = "zero",
    ) -> int:
        """Let awake nodes start again: values on both sides, statistics, optimizer state."""
        nodes = self._chosen(layer, where)
        awake = nodes.difference(self.live.nodes.nodes(Kind.ASLEEP))
        self.act(Reset(value, outgoing=outgoing), awake)
        return awake.count()

    def is_sleeping_node(self, layer: str, where: Any = ...) -> Tensor:
        """Bool tensor: which of these nodes sleep; an index gives a 0-dim tensor."""
        group = group_of(self.live.nodes, layer)
        awake = self.live.nodes.store.awake(group.name)
        asleep = torch.zeros(group.size, dtype=torch.bool) if awake is None else ~awake
        if where is Ellipsis:
            return asleep
        chosen = asleep[to_mask(where, asleep.shape).to(asleep.device)]
        return chosen[0] if isinstance(where, int) else chosen

    def get_sleep_state(self, layer: str) -> SleepState:
        """The masks of one layer, with counts, and of its nodes where it makes a group."""
        if layer in self.live.nodes.groups and self.live.nodes.groups[layer].layers:
            group = self.live.nodes.groups[layer]
            own = group.layers[0]
            name = layer if layer == own else group.produces[0].param
            return replace(super().get_sleep_state(name), nodes=self._state(group.name))
        state = super().get_sleep_state(layer)
        made = [g for g in self.live.nodes.groups.values() if layer in g.layers]
        return replace(state, nodes=self._state(made[0].name)) if len(made) == 1 else state

    def __getitem__(self, layer: str) -> NodeView:
        """A view of one layer, or of one node group, with the direct calls."""
        if layer not in self.live.nodes.groups:
            parameter_of(self.model, layer)
        return NodeView(self, layer)

    def _state(self, name: str) -> NodeState:
        store, size = self.live.nodes.store, self.live.nodes.groups[name].size
        awake, frozen = store.awake(name), store.frozen(name)
        return NodeState(
            name,
            torch.ones(size, dtype=torch.bool) if awake is None else awake,
            torch.zeros(size, dtype=torch.bool) if frozen is None else frozen,
        )

    def _wake_all(self) -> None:
        asleep = self.live.nodes.nodes(Kind.ASLEEP)
        if asleep:
            self.act(Wake(), asleep)
        self._now(Wake(), dict.fromkeys(self.store.entries(), ...))

    def _chosen(self, layer: str, where: Any) -> Choice:
        group = group_of(self.live.nodes, layer)
        if where is Ellipsis:
            mask = torch.ones(group.size, dtype=torch.bool)
        else:
            try:
                mask = to_mask(where, (group.size,))
            except SetupError as error:
                raise SetupError(f"nodes of {group.name!r}: {error}") from error
        return Choice({group.name: mask.to(self.live.nodes.store.device(group.name))}, Layer.NODES)

    def _nodes(
        self,
        action: Action,
        layer: str,
        where: Any,
        count: Callable[[MaskStore], int],
        warn: bool = False,
    ) -> int:
        nodes = self._chosen(layer, where)
        if warn:
            warn_of(self.live.nodes.groups[nodes.names[0]], stacklevel=4)
        before = count(self.live.nodes.store)
        self.act(action, nodes)
        return abs(count(self.live.nodes.store) - before)


@dataclass(frozen=True)
class NodeView(LayerView):
    """One layer of the engine: `engine["fc1"].sleep_nodes([3, 7])`."""

    engine: NodeCalls

    def sleep_nodes(self, where: Any = ...) -> int:
        """Put these nodes to sleep; how many fell asleep."""
        return self.engine.sleep_nodes(self.layer, where)

    def wake_nodes(
        self, where: Any = ..., value: Any = "parked", state: Any = "keep", outgoing: Any = "parked"
    ) -> int:
        """Wake these nodes; how many woke."""
        return self.engine.wake_nodes(self.layer, where, value, state, outgoing)

    def freeze_nodes(self, where: Any = ...) -> int:
        """Freeze these nodes; how many froze."""
        return self.engine.freeze_nodes(self.layer, where)

    def thaw_nodes(self, where: Any = ...) -> int:
        """Thaw these nodes; how many thawed."""
        return self.engine.thaw_nodes(self.layer, where)

    def reset_nodes(self, where: Any = ..., value: Any = "fresh", outgoing: Any = "zero") -> int:
        """Let these nodes start again; how many did."""
        return self.engine.reset_nodes(self.layer, where, value, outgoing)

    def is_sleeping_node(self, where: Any = ...) -> Tensor:
        """True where asleep, for these nodes."""
        return self.engine.is_sleeping_node(self.layer, where)
