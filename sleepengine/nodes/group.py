"""A node group: the nodes of one layer (or of several that are added up), and all their parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.nodes.sides import Side
from sleepengine.nodes.slices import Slice


@final
@dataclass(frozen=True)
class NodeGroup:
    """`size` nodes that sleep one by one, each with all that belongs to it.

    Args:
        name: how the group is called, such as the name of the layer whose outputs the nodes are.
        size: number of nodes.
        produces: incoming weights; several where outputs of layers are added up.
        consumes: outgoing weights, in every layer that reads the nodes.
        per_node: bias, and weight and bias of the normalisation that follows; a plain name means
            `Slice(name)`.
        buffers: running statistics; a plain name means `Slice(name)`.
        read_by: who reads the nodes without weights, or averages over them (LayerNorm, softmax,
            the output of the model). Such a reader sees a sleeping node as zeros.
        counted_by: attributes of the model's modules that hold the number of nodes or a multiple
            of it, such as "blocks.0.attn.n_head"; they follow when the tensors are made smaller.
        works_in: modules whose products of activations with each other are shared equally by the
            nodes (the scores of an attention by its heads), for budgets in FLOPs.

    Raises:
        SetupError: no name, no node, or nothing that belongs to them.

    >>> import torch
    >>> group = NodeGroup("fc1", 2, [Slice("fc1.weight")], [Slice("fc2.weight", 1)], ["fc1.bias"])
    >>> group.params
    ('fc1.weight', 'fc2.weight', 'fc1.bias')
    >>> group.spread(torch.tensor([True, False]), {"fc2.weight": (1, 2)}, Side.OUTGOING)
    {'fc2.weight': tensor([[ True, False]])}
    """

    name: str
    size: int
    produces: Sequence[Slice] = ()
    consumes: Sequence[Slice] = ()
    per_node: Sequence[Slice | str] = ()
    buffers: Sequence[Slice | str] = ()
    read_by: Sequence[str] = ()
    counted_by: Sequence[str] = ()
    works_in: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise SetupError(f"NodeGroup(name={self.name!r}): give it a name, as the layer's")
        if type(self.size) is not int or self.size < 1:
            raise SetupError(f"NodeGroup({self.name!r}, size={self.size!r}): at least one node")
        for label in ("produces", "consumes", "per_node", "buffers"):
            given = getattr(self, label)
            if isinstance(given, (Slice, str)):
                raise SetupError(f"NodeGroup({self.name!r}): {label} is a list of slices")
            object.__setattr__(self, label, tuple(_slice(self.name, label, one) for one in given))
        object.__setattr__(self, "read_by", tuple(self.read_by))
        object.__setattr__(self, "counted_by", tuple(self.counted_by))
        object.__setattr__(self, "works_in", tuple(self.works_in))
        if not self.produces and not self.consumes:
            raise SetupError(f"NodeGroup({self.name!r}) has neither produces nor consumes")

    def slices(self, side: Side = Side.ALL) -> tuple[Slice, ...]:
        """The slices of one side."""
        beside = tuple(one for one in self.per_node if isinstance(one, Slice))
        if side is Side.INCOMING:
            return tuple(self.produces)
        if side is Side.OUTGOING:
            return tuple(self.consumes)
        if side is Side.SCALE:
            return tuple(one for one in beside if one.param.rpartition(".")[2] == "weight")
        if side is Side.SHIFT:
            return tuple(one for one in beside if one.param.rpartition(".")[2] != "weight")
        return (*self.produces, *self.consumes, *beside)

    @property
    def statistics(self) -> tuple[Slice, ...]:
        """The slices of the buffers."""
        return tuple(one for one in self.buffers if isinstance(one, Slice))

    @property
    def params(self) -> tuple[str, ...]:
        """Names of all parameters with entries of these nodes, each once."""
        return tuple(dict.fromkeys(one.param for one in self.slices()))

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose outputs the nodes are."""
        return tuple(dict.fromkeys(one.param.rpartition(".")[0] for one in self.produces))

    def norms(self) -> tuple[Slice, ...]:
        """What is per node and belongs to another layer than the incoming weights."""
        own = set(self.layers)
        beside = (*self.slices(Side.SCALE), *self.slices(Side.SHIFT))
        return tuple(one for one in beside if one.param.rpartition(".")[0] not in own)

    def spread(
        self, nodes: Tensor, shapes: Mapping[str, Sequence[int]], side: Side = Side.ALL
    ) -> dict[str, Tensor]:
        """Chosen nodes, bool (size,) -> parameter name -> bool mask of their entries."""
        return spread(self.slices(side), nodes, shapes)

    def check(
        self, shapes: Mapping[str, Sequence[int]], buffers: Mapping[str, Sequence[int]]
    ) -> None:
        """The group fits a model with these parameters and buffers.

        Raises:
            UnknownNameError: a parameter or buffer does not exist.
            SetupError: a slice does not fit its shape.
        """
        for one, known, what in (
            *((one, shapes, "parameter") for one in self.slices()),
            *((one, buffers, "buffer") for one in self.statistics),
        ):
            if one.param not in known:
                raise UnknownNameError(
                    f"node group {self.name!r}: there is no {what} {one.param!r}. "
                    f"{did_you_mean(one.param, known)}"
                )
            one.check(self.size, known[one.param], f"node group {self.name!r}")


def spread(
    slices: Iterable[Slice], nodes: Tensor, shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Chosen nodes -> name -> mask of their entries in these slices."""
    masks: dict[str, Tensor] = {}
    for one in slices:
        mask = one.mask(nodes, shapes[one.param])
        known = masks.get(one.param)
        masks[one.param] = mask if known is None else known.logical_or_(mask)
    return masks


def _slice(group: str, label: str, one: object) -> Slice:
    if isinstance(one, Slice):
        return one
    if isinstance(one, str) and label in ("per_node", "buffers"):
        return Slice(one)
    raise SetupError(f"NodeGroup({group!r}): {label} holds {one!r}; write Slice(name, dim)")


def by_name(groups: Iterable[NodeGroup]) -> dict[str, NodeGroup]:
    """Groups by name; one that is given twice counts once.

    Raises:
        SetupError: two different groups share a name.
    """
    found: dict[str, NodeGroup] = {}
    for group in groups:
        if not isinstance(group, NodeGroup):
            raise SetupError(f"nodes: {group!r} is not a NodeGroup")
        if group.name in found and found[group.name] != group:
            raise SetupError(f"two different node groups are called {group.name!r}")
        found[group.name] = group
    return found
