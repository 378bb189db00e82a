"""Node groups found from the model's graph, by torch-pruning's dependency graph."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import nn

from sleepengine.errors import SetupError
from sleepengine.names import aliases, named_parameters, unwrap
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.hand_written import attention_heads, recurrent_units
from sleepengine.nodes.in_layers import fused_heads, spread_flat
from sleepengine.nodes.opaque import opaque
from sleepengine.nodes.parts import MAKERS, ONE_WAY, Named, OneWay, parts_of
from sleepengine.nodes.proving import Proof

_BY_HAND = (
    "write it by hand: NodeGroup(name, size, produces=[Slice(weight)], "
    "consumes=[Slice(reader, dim=1)], per_node=[bias, ...])"
)
OUTPUT = "the output of the model"


@final
@dataclass(frozen=True)
class Found:
    """Node groups of a model, and the layers whose outputs are none, each with the reason."""

    groups: tuple[NodeGroup, ...]
    left_out: Mapping[str, str]

    def __iter__(self) -> Iterator[NodeGroup]:
        return iter(self.groups)


def find_groups(model: nn.Module, example_inputs: Any) -> Found:
    """Every set of outputs that belong together, with all weights that make and read them.

    The graph is traced once on a copy of the model, and each group is then proved by trial: with
    its outgoing weights zero, changing what makes it must not change the output. What fails is
    read by something without weights: it keeps its place with `read_by`, or is left out with the
    reason where no weights read it at all.

    Args:
        model: any module; nothing of it is touched.
        example_inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        SetupError: torch-pruning is not installed, or the model does not run on the inputs.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> found = find_groups(net, torch.zeros(1, 2))
    >>> [group.name for group in found], dict(found.left_out)
    (['0'], {'2': 'its outputs are read by the output of the model alone'})
    """
    twin = copy.deepcopy(unwrap(model)).eval().requires_grad_(True)
    params, names = named_parameters(twin), Named(twin, aliases(twin))
    devices = sorted({p.device for p in params.values() if p.device.type == "cuda"}, key=str)
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        graph = _graph(twin, example_inputs)
        proof = Proof(twin, params, lambda one: _call(one, example_inputs))
        finder = _Finder(twin, names, proof)
        for name, module in twin.named_modules():
            finder.inside(name, module)
        roots = (*MAKERS, nn.Embedding)
        finder.all_of(graph, roots)
    finder.name_the_rest(roots)
    return Found(finder.in_order(), finder.left_out)


@final
class _Finder:
    """Groups as they are found and proved."""

    def __init__(self, model: nn.Module, names: Named, proof: Proof) -> None:
        self.model, self.names, self.proof = model, names, proof
        self.groups: dict[str, NodeGroup] = {}
        self.left_out: dict[str, str] = {}

    def inside(self, name: str, module: nn.Module) -> None:
        """Groups that lie within one layer: heads, and units that the layer itself reads."""
        if isinstance(module, nn.MultiheadAttention):
            self._keep(attention_heads(self.model, name), ())
        elif isinstance(module, nn.RNNBase):
            inner = recurrent_units(self.model, name)
            for group in inner if module.proj_size else inner[: -1 - module.bidirectional]:
                self._keep(group, ())
        else:
            for heads in fused_heads(self.model, name, module):
                if self.proof.complete(heads):
                    self._keep(heads, ())
                    break

    def all_of(self, graph: Any, roots: tuple[type[nn.Module], ...]) -> None:
        """Groups of the graph, by the layer that they begin with."""
        done: set[nn.Module] = set()
        for module in list(graph.module2node):
            if not isinstance(module, roots) or module in done:
                continue
            name = self.names.module(module)
            if name is None or name in self.left_out:
                continue
            pruner = graph.get_pruner_of_module(module)
            size = pruner.get_out_channels(module)
            try:
                items = graph.get_pruning_group(
                    module, pruner.prune_out_channels, list(range(size))
                )
                parts = parts_of(items, graph, self.names, size)
            except Exception as error:
                self.left_out[name] = f"the graph cannot be followed ({error}); {_BY_HAND}"
                continue
            done |= parts.makers
            if isinstance(module, nn.RNNBase):
                readers = [one for one in parts.consumes if one.index is None]
                for group in recurrent_units(self.model, name, readers):
                    if group.name not in self.groups:
                        self._keep(group, parts.averaging)
                continue
            name = self.names.first(parts.makers) or name
            if name in self.groups:
                name = f"{name}.outputs"
            group = NodeGroup(
                name, size, parts.produces, parts.consumes, parts.per_node, parts.buffers
            )
            self._keep(group, (*parts.averaging, *((OUTPUT,) if parts.is_output else ())))

    def _keep(self, group: NodeGroup, readers: tuple[str, ...]) -> None:
        layer = group.layers[0] if group.layers else group.name
        taken = {(one.param, one.dim) for g in self.groups.values() for one in g.produces}
        if any((one.param, one.dim) in taken for one in group.produces):
            return  # heads come first; what makes them is no channel of its own
        if not group.consumes:
            said = " and ".join(readers) or "operations without weights"
            self.left_out[layer] = f"its outputs are read by {said} alone"
            return
        if self.proof.complete(group):
            self.groups[group.name] = group
            return
        flat = spread_flat(group, self.proof.complete, self.names.shape)
        if flat is not None:
            self.groups[group.name] = flat
        elif readers:
            self.groups[group.name] = replace(group, read_by=readers)
        else:
            self.left_out[layer] = (
                "something beside the weights that the graph shows reads its outputs (a reshape, "
                f"a softmax, a product?); {_BY_HAND}"
            )

    def in_order(self) -> tuple[NodeGroup, ...]:
        """The groups in the order of the layers that they begin with."""
        order = {name: k for k, (name, _) in enumerate(self.model.named_modules())}
        last = len(order)
        return tuple(
            sorted(
                self.groups.values(),
                key=lambda g: min((order.get(layer, last) for layer in g.layers), default=last),
            )
        )

    def name_the_rest(self, roots: tuple[type[nn.Module], ...]) -> None:
        """Say of every other layer that it was not reached."""
        made = {layer for group in self.groups.values() for layer in group.layers}
        for name, module in self.model.named_modules():
            inner = name.rpartition(".")[0]
            if isinstance(module, roots) and name not in made | self.left_out.keys():
                if inner and isinstance(self.model.get_submodule(inner), nn.MultiheadAttention):
                    continue
                self.left_out[name] = f"no path of the example inputs leads through it; {_BY_HAND}"
        for name, module in self.model.named_modules():
            if isinstance(module, roots) and name in self.left_out:
                others = [n for n in self._sharing(module) if n != name]
                if others:
                    self.left_out[name] = (
                        f"it shares its weight with {' and '.join(map(repr, others))}, which the "
                        f"graph does not follow; {_BY_HAND}"
                    )

    def _sharing(self, module: nn.Module) -> list[str]:
        """Names of the modules that hold the same weight."""
        own = {id(p) for p in module._parameters.values() if p is not None and p.dim() > 1}
        return [
            name
            for name, other in self.model.named_modules()
            if own & {id(p) for p in other._parameters.values()}
        ]


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def _graph(model: nn.Module, inputs: Any) -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise SetupError(
            "finding node groups needs torch-pruning: pip install 'sleepengine[graph]', or write "
            "the groups by hand as nodes=[NodeGroup(...)]"
        ) from error
    try:
        _call(model, inputs)
    except Exception as error:
        raise SetupError(f"the model does not run on example_inputs: {error}") from error
    special = {kind: OneWay(kind) for kind in ONE_WAY}
    with warnings.catch_warnings(), opaque(m for m in model.modules() if isinstance(m, ONE_WAY)):
        warnings.simplefilter("ignore")
        return torch_pruning.DependencyGraph().build_dependency(
            model,
            inputs,
            forward_fn=_call,
            customized_pruners=special,
            verbose=False,
        )
