"""Which nodes sleep and which are frozen: one bit per node; bits of entries follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import final

import torch
from torch import Tensor

from sleepengine.masks import bits as packed
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.group import NodeGroup, by_name, spread
from sleepengine.nodes.prices import NodePrices
from sleepengine.nodes.sides import Side
from sleepengine.nodes.work import Work


@final
class NodeMasks:
    """An entry sleeps on the layer of nodes while any node that owns it sleeps.

    A choice of nodes is keyed by group: name -> bool (size,). The bits of nodes are kept in a
    store of their own, `store`; the bits of entries, in the layer NODES of a store of parameters,
    are derived.

    Args:
        groups: the node groups.
        shapes: parameter name -> shape.
        devices: parameter name -> device.
        buffers: buffer name -> shape.
        left_out: layer -> why its outputs are no group, for messages.
        work: counts the floating-point operations of the model, for budgets.

    Raises:
        SetupError: a group does not fit, or two groups share a name.

    >>> from sleepengine.nodes.slices import Slice
    >>> shapes = {"a": torch.Size([2, 1]), "b": torch.Size([1, 2])}
    >>> group = NodeGroup("a", 2, [Slice("a")], [Slice("b", 1)])
    >>> nodes, store = NodeMasks([group], shapes), MaskStore(shapes)
    >>> nodes.sleep(Choice({"a": torch.tensor([False, True])}, Layer.NODES), store)
    Choice(nodes: a 1/2, b 1/2)
    >>> store.awake("b").tolist()
    [[True, False]]
    """

    def __init__(
        self,
        groups: Iterable[NodeGroup] = (),
        shapes: Mapping[str, torch.Size] | None = None,
        devices: Mapping[str, torch.device] | None = None,
        buffers: Mapping[str, torch.Size] | None = None,
        left_out: Mapping[str, str] | None = None,
        work: Callable[[], Work] | None = None,
    ) -> None:
        self.left_out = dict(left_out or {})
        self.work = work
        self._shapes = dict(shapes or {})
        self._buffers = dict(buffers or {})
        self.groups = by_name(groups)
        for group in self.groups.values():
            group.check(self._shapes, self._buffers)
        places = {
            name: (devices or {}).get(group.params[0], torch.device("cpu"))
            for name, group in self.groups.items()
        }
        self.store = MaskStore({n: torch.Size([g.size]) for n, g in self.groups.items()}, places)

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of all buffers with statistics of nodes, each once."""
        own = (one.param for group in self.groups.values() for one in group.statistics)
        return tuple(dict.fromkeys(own))

    def fork(self) -> NodeMasks:
        """The same bits, to be changed apart."""
        other = NodeMasks()
        other.left_out, other.work = self.left_out, self.work
        other.groups, other._shapes, other._buffers = self.groups, self._shapes, self._buffers
        other.store = self.store.fork()
        return other

    def sleep(self, nodes: Choice, entries: MaskStore) -> Choice:
        """Put nodes to sleep; returns the entries that were awake."""
        self.store.sleep(nodes.on_layer(Layer.WEIGHTS))
        return entries.sleep(self.entries(nodes))

    def wake(self, nodes: Choice, entries: MaskStore) -> Choice:
        """Wake nodes; returns the entries that are awake now, all their owners being awake."""
        self.store.wake(nodes.on_layer(Layer.WEIGHTS))
        return entries.wake(self.entries(nodes).difference(self.covered(Kind.ASLEEP)))

    def freeze(self, nodes: Choice, entries: MaskStore) -> Choice:
        """Freeze nodes; returns the entries that were not frozen."""
        self.store.freeze(nodes.on_layer(Layer.WEIGHTS))
        return entries.freeze(self.entries(nodes))

    def thaw(self, nodes: Choice, entries: MaskStore) -> Choice:
        """Thaw nodes; returns the entries that no owner holds frozen any more."""
        self.store.thaw(nodes.on_layer(Layer.WEIGHTS))
        return entries.thaw(self.entries(nodes).difference(self.covered(Kind.FROZEN)))

    def entries(self, nodes: Choice, side: Side = Side.ALL) -> Choice:
        """The entries of one side of chosen nodes, on the layer of nodes."""
        found: dict[str, Tensor] = {}
        for name in nodes:
            chosen = nodes[name].to(self.store.device(name))
            self._add(found, self.groups[name].spread(chosen, self._shapes, side))
        return Choice(found, Layer.NODES)

    def norm_entries(self, nodes: Choice) -> Choice:
        """The entries of chosen nodes in normalisations that follow them."""
        found: dict[str, Tensor] = {}
        for name in nodes:
            self._add(found, spread(self.groups[name].norms(), nodes[name], self._shapes))
        return Choice(found, Layer.NODES)

    def statistics(self, nodes: Choice) -> dict[str, Tensor]:
        """Buffer name -> mask of the running statistics of chosen nodes."""
        found: dict[str, Tensor] = {}
        for name in nodes:
            slices = self.groups[name].statistics
            self._add(found, spread(slices, nodes[name], self._buffers))
        return found

    def covered(self, kind: Kind) -> Choice:
        """The entries of all nodes that sleep (or are frozen) now."""
        return self.entries(self.nodes(kind))

    def nodes(self, kind: Kind) -> Choice:
        """The nodes that sleep (or are frozen) now."""
        found: dict[str, Tensor] = {}
        for name in self.store.entries():
            bits = self.store.layer_bits(name, Layer.WEIGHTS, kind)
            if bits is not None:
                found[name] = packed.unpack(bits, self.store.shape(name))
        return Choice(found, Layer.NODES)

    def held(self) -> dict[str, Tensor]:
        """Buffer name -> mask of the statistics of sleeping and frozen nodes, held still."""
        asleep, frozen = self.nodes(Kind.ASLEEP), self.nodes(Kind.FROZEN)
        return self.statistics(asleep.union(frozen))

    def follow(self, entries: MaskStore) -> None:
        """Read the bits of nodes from those of entries, for masks that came without them.

        A node that sleeps stays so while all its entries sleep; one that is awake falls asleep
        when all its entries sleep and some of them through nobody else.
        """
        for kind, act in ((Kind.ASLEEP, self.store.wake), (Kind.FROZEN, self.store.thaw)):
            act(self.nodes(kind).difference(self.whole(kind, entries)).on_layer(Layer.WEIGHTS))
        for kind, act in ((Kind.ASLEEP, self.store.sleep), (Kind.FROZEN, self.store.freeze)):
            whole = self.whole(kind, entries)
            for name in whole:
                for node in whole[name].nonzero().flatten().tolist():
                    alone = torch.zeros(self.groups[name].size, dtype=torch.bool)
                    alone[node] = True
                    one = Choice({name: alone}, Layer.NODES)
                    if not self.entries(one).difference(self.covered(kind)).is_empty():
                        act(one.on_layer(Layer.WEIGHTS))

    def prices(self, now: Mapping[str, Tensor]) -> NodePrices:
        """What nodes cost, with those in `now` (group -> bool) asleep already."""
        return NodePrices(self.groups, self._shapes, now, self.work)

    def whole(self, kind: Kind, entries: MaskStore) -> Choice:
        """The nodes whose every entry is set on the layer of nodes."""
        found: dict[str, Tensor] = {}
        for name, group in self.groups.items():
            all_set = torch.ones(group.size, dtype=torch.bool, device=self.store.device(name))
            for one in group.slices():
                bits = entries.layer_bits(one.param, Layer.NODES, kind)
                if bits is None:
                    all_set.zero_()
                    break
                own = one.gather(packed.unpack(bits, self._shapes[one.param]), group.size)
                lines = (
                    own.all(1) if isinstance(own, Tensor) else torch.stack([i.all() for i in own])
                )
                all_set &= lines.to(all_set.device)
            if bool(all_set.any()):
                found[name] = all_set
        return Choice(found, Layer.NODES)

    def _add(self, found: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
        for param, mask in more.items():
            known = found.get(param)
            found[param] = mask if known is None else known | mask.to(known.device)
