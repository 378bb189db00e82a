"""What a group of the dependency graph says, as slices of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, final

import torch
from torch import nn

from sleepengine.names import canonical, named_parameters
from sleepengine.nodes.slices import Slice

_CONV = nn.modules.conv._ConvNd
_NORM = nn.modules.batchnorm._NormBase
ONE_WAY: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.RNN)
"""Layers whose inputs and outputs are different nodes, told to the graph by `OneWay`."""
MAKERS: tuple[type[nn.Module], ...] = (nn.Linear, _CONV, *ONE_WAY)


@final
class OneWay:
    """Tells the graph the widths of a layer; nothing is ever cut."""

    def __init__(self, kind: type[nn.Module]) -> None:
        self.kind = kind
        self.pruning_dim = 1

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """The layer as it is."""
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """The layer as it is."""
        return layer

    def get_out_channels(self, layer: Any) -> int:
        """Width of the output."""
        if isinstance(layer, nn.MultiheadAttention):
            return layer.embed_dim
        width = layer.proj_size or layer.hidden_size
        return int(width * (2 if layer.bidirectional else 1))

    def get_in_channels(self, layer: Any) -> int:
        """Width of the input."""
        return int(
            layer.embed_dim if isinstance(layer, nn.MultiheadAttention) else layer.input_size
        )

    def get_in_channel_groups(self, layer: Any) -> int:
        """One."""
        return 1

    def get_out_channel_groups(self, layer: Any) -> int:
        """One."""
        return 1


@final
class Named:
    """Canonical names of modules and parameters of one model."""

    def __init__(self, model: nn.Module, tied: Mapping[str, str]) -> None:
        self._modules = {id(module): name for name, module in model.named_modules()}
        self._params = {id(p): name for name, p in named_parameters(model).items()}
        self._tied = tied
        self._shapes = {name: p.shape for name, p in named_parameters(model).items()}

    def module(self, module: object) -> str | None:
        """Name of a module, if it is one of the model."""
        return self._modules.get(id(module))

    def first(self, modules: set[nn.Module]) -> str | None:
        """Name of the one that the model holds first."""
        own = {id(module) for module in modules}
        return next((name for key, name in self._modules.items() if key in own), None)

    def param(self, parameter: object) -> str:
        """Name of a parameter."""
        return self._params[id(parameter)]

    def of(self, module: nn.Module, attribute: str) -> str:
        """Name of a module's parameter or buffer; of a tied parameter its first name."""
        prefix = self._modules[id(module)]
        full = canonical(f"{prefix}.{attribute}" if prefix else attribute)
        return self._tied.get(full, full)

    def shape(self, name: str) -> torch.Size:
        """Shape of a parameter."""
        return self._shapes[name]


@final
@dataclass
class Parts:
    """Slices of one group, and who averages over it or is the end of the model."""

    produces: list[Slice] = field(default_factory=list)
    consumes: list[Slice] = field(default_factory=list)
    per_node: list[Slice] = field(default_factory=list)
    buffers: list[Slice] = field(default_factory=list)
    averaging: tuple[str, ...] = ()
    is_output: bool = False
    makers: set[nn.Module] = field(default_factory=set)


def parts_of(items: Any, graph: Any, names: Named, size: int) -> Parts:
    """The slices of one group of the graph, whose nodes are the outputs of its first layer.

    Raises:
        ValueError: a layer of a kind that is not known here belongs to the group.
    """
    parts = Parts()
    for item in items:
        module = item.dep.target.module
        table: list[list[int]] = [[] for _ in range(size)]
        for index, node in zip(item.idxs, item.root_idxs, strict=True):
            if node is None:
                raise ValueError("one node of it feeds several heads")
            table[node].append(int(index))
        at = tuple(tuple(sorted(own)) for own in table)
        if isinstance(module, nn.Parameter):
            dim = item.dep.target.pruning_dim % module.dim()
            parts.per_node.append(compact(names.param(module), dim, at))
        elif isinstance(module, nn.Module) and names.module(module) is not None:
            out = graph.is_out_channel_pruning_fn(item.dep.handler)
            if out and not item.dep.target.outputs:
                parts.is_output = True
            _of_layer(parts, module, at, out, names)
        elif type(module).__name__ == "_OutputOp":
            parts.is_output = True
    return parts


def _of_layer(
    parts: Parts, module: Any, at: tuple[tuple[int, ...], ...], out: bool, names: Named
) -> None:
    def put(into: list[Slice], attribute: str, dim: int = 0, groups: int = 1) -> None:
        if getattr(module, attribute, None) is not None:
            into.append(compact(names.of(module, attribute), dim, at, groups))

    if isinstance(module, (nn.Linear, _CONV)):
        turned = isinstance(module, _CONV) and module.transposed
        groups = module.groups if isinstance(module, _CONV) else 1
        depthwise = groups > 1 and groups == module.out_channels
        if out:
            parts.makers.add(module)
            put(parts.produces, "weight", 1 if turned else 0, groups if turned else 1)
            put(parts.per_node, "bias")
            if depthwise and turned:
                parts.produces.pop()
                put(parts.produces, "weight", 0)
        else:
            put(parts.consumes, "weight", 0 if turned else 1, 1 if turned else groups)
    elif isinstance(module, nn.Embedding):
        parts.makers.add(module)
        put(parts.produces, "weight", 1)
    elif isinstance(module, nn.MultiheadAttention):
        if out:
            parts.makers.add(module)
            inner = module.out_proj
            parts.produces.append(compact(names.of(inner, "weight"), 0, at))
            if inner.bias is not None:
                parts.per_node.append(compact(names.of(inner, "bias"), 0, at))
        elif module.in_proj_weight is None:
            raise ValueError(
                f"keys and values of {names.module(module)!r} have widths of their own"
            )
        else:
            put(parts.consumes, "in_proj_weight", 1)
    elif isinstance(module, nn.RNNBase):
        if out:
            parts.makers.add(module)
        else:
            for way in ("", "_reverse") if module.bidirectional else ("",):
                put(parts.consumes, f"weight_ih_l0{way}", 1)
    elif isinstance(module, _NORM):  # BatchNorm and InstanceNorm
        put(parts.per_node, "weight")
        put(parts.per_node, "bias")
        put(parts.buffers, "running_mean")
        put(parts.buffers, "running_var")
    elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
        put(parts.per_node, "weight")
        put(parts.per_node, "bias")
        parts.averaging = (*parts.averaging, names.module(module) or "a normalisation")
    elif isinstance(module, nn.PReLU):
        if module.num_parameters > 1:
            put(parts.per_node, "weight")
    elif any(True for _ in module.parameters(recurse=False)):
        raise ValueError(f"{type(module).__name__} is not known")


def compact(param: str, dim: int, at: tuple[tuple[int, ...], ...], groups: int = 1) -> Slice:
    """The slice of these indices, as start, stride and repeat where they follow such a rule."""
    repeat = len(at[0])
    if repeat and all(own == tuple(range(own[0], own[0] + repeat)) for own in at if own):
        firsts = [own[0] for own in at if own]
        stride = firsts[1] - firsts[0] if len(firsts) > 1 else repeat
        same = all(b - a == stride for a, b in pairwise(firsts))
        if all(len(own) == repeat for own in at) and same and stride > 0:
            return Slice(param, dim, firsts[0], stride, repeat, groups)
    return Slice(param, dim, groups=groups, index=at)
