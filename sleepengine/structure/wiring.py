"""Which vertices every weight joins: nodes of groups, and the inputs and outputs beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import UnknownNameError, did_you_mean
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import Slice


@final
@dataclass(frozen=True)
class Vertices:
    """Vertices of one layer: `first` ... `first + size - 1` in the whole network."""

    layer: str
    first: int
    size: int

    def names(self) -> list[str]:
        """As "fc1:0", "fc1:1", ..."""
        return [f"{self.layer}:{i}" for i in range(self.size)]


@final
@dataclass(frozen=True)
class Joint:
    """Where the weights of one parameter lead: vertex numbers, each of shape (d0, d1)."""

    source: Tensor
    target: Tensor


@final
class Wiring:
    """Every weight joins a source to a target; kernel entries of two channels join the same two.

    The nodes of a group are the vertices that its weights make and read. What no group owns gets
    vertices of its own: "fc1.in" for the inputs of `fc1` that no node gives, "fc3" for the outputs
    of `fc3` that no group counts as nodes.

    Args:
        shapes: parameter name -> shape, of all weights with at least two dimensions that count.
        groups: the node groups.
        depthwise: parameters whose every output reads the channel of its own number, which is the
            same node: an edge from a vertex to itself.

    >>> fc1 = NodeGroup("fc1", 2, [Slice("fc1.weight")], [Slice("fc2.weight", 1)])
    >>> wiring = Wiring({"fc1.weight": torch.Size([2, 3]), "fc2.weight": torch.Size([1, 2])}, [fc1])
    >>> [(one.layer, one.size) for one in wiring.vertices]
    [('fc1', 2), ('fc1.in', 3), ('fc2', 1)]
    >>> wiring["fc2.weight"].source.tolist(), wiring["fc2.weight"].target.tolist()
    ([[0, 1]], [[5, 5]])
    """

    def __init__(
        self,
        shapes: Mapping[str, torch.Size],
        groups: Iterable[NodeGroup] = (),
        depthwise: Iterable[str] = (),
    ) -> None:
        self.groups = {group.name: group for group in groups}
        self.depthwise = tuple(depthwise)
        self._vertices: list[Vertices] = []
        self._joints: dict[str, Joint] = {}
        owned = {name: self._add(name, group.size) for name, group in self.groups.items()}
        for name, shape in shapes.items():
            self._joints[name] = self._joint(name, shape, owned)

    @property
    def vertices(self) -> tuple[Vertices, ...]:
        """All vertices, layer by layer; groups come first."""
        return tuple(self._vertices)

    @property
    def size(self) -> int:
        """How many vertices there are."""
        return sum(one.size for one in self._vertices)

    @property
    def params(self) -> tuple[str, ...]:
        """Names of the parameters whose weights are edges."""
        return tuple(self._joints)

    def __getitem__(self, param: str) -> Joint:
        """The joint of one parameter, or of a layer's weight.

        Raises:
            UnknownNameError: its weights are no edges.
        """
        for name in (param, f"{param}.weight"):
            if name in self._joints:
                return self._joints[name]
        raise UnknownNameError(
            f"{param!r} has no weights that are edges. {did_you_mean(param, self._joints)}"
        )

    def names(self) -> list[str]:
        """The name of every vertex, by number."""
        return [name for one in self._vertices for name in one.names()]

    def _add(self, layer: str, size: int) -> Vertices:
        found = Vertices(layer, self.size, size)
        self._vertices.append(found)
        return found

    def _joint(self, name: str, shape: torch.Size, owned: Mapping[str, Vertices]) -> Joint:
        makes = [(g, s) for g in self.groups.values() for s in g.produces if s.param == name]
        reads = [(g, s) for g in self.groups.values() for s in g.consumes if s.param == name]
        out_dim = makes[0][1].dim if makes else 1 - reads[0][1].dim if reads else 0
        layer = name.removesuffix(".weight")
        label = layer if layer not in self.groups else f"{layer}.out"
        if name in self.depthwise:
            target = self._side(label, shape, makes, owned, out_dim)
            return Joint(target, target)
        source = self._side(f"{layer}.in", shape, reads, owned, 1 - out_dim)
        return Joint(source, self._side(label, shape, makes, owned, out_dim))

    def _side(
        self,
        label: str,
        shape: Sequence[int],
        slices: Sequence[tuple[NodeGroup, Slice]],
        owned: Mapping[str, Vertices],
        dim: int,
    ) -> Tensor:
        """(d0, d1) of vertex numbers; what no slice covers gets new ones along `dim`."""
        table = torch.full((shape[0], shape[1]), -1, dtype=torch.long)
        for group, one in slices:
            if one.dim > 1:
                continue
            owners, at = one.pairs(group.size)
            numbers = owners + owned[group.name].first
            if one.groups == 1:
                lines = table if one.dim == 0 else table.T
                lines[at] = numbers[:, None].expand(-1, lines.shape[1])
            else:
                rows = shape[0] // one.groups
                for number, index in zip(numbers.tolist(), at.tolist(), strict=True):
                    block, column = divmod(index, shape[1])
                    table[block * rows : (block + 1) * rows, column] = number
        free = (table < 0).any(1 - dim)
        if bool(free.any()):
            own = self._add(label, int(free.sum()))
            numbers = torch.zeros(shape[dim], dtype=torch.long)
            numbers[free] = torch.arange(own.first, own.first + own.size)
            fill = numbers[:, None] if dim == 0 else numbers[None]
            table = torch.where(table < 0, fill.expand_as(table), table)
        return table
