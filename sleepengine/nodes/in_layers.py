"""Guesses that a proof decides: heads of attentions made of linear layers, and flattened maps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations

import torch
from torch import nn

from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.hand_written import attention_heads
from sleepengine.nodes.slices import Slice

_HEADS = ("num_heads", "n_heads", "n_head", "heads", "nhead", "num_attention_heads")


def fused_heads(model: nn.Module, name: str, module: nn.Module) -> Iterator[NodeGroup]:
    """Possible groups of heads of a module that says how many it has and holds linear layers."""
    counts = {k: v for k in _HEADS if type(v := vars(module).get(k)) is int}
    count = next(iter(counts.values()), None)
    layers = {k: m for k, m in module.named_modules() if isinstance(m, nn.Linear)}
    if count is None or not layers:
        return
    prefix = f"{name}." if name else ""
    counted = tuple(f"{prefix}{k}" for k, v in counts.items() if v == count)
    for out, reader in layers.items():
        inner = reader.in_features
        if inner % count:
            continue
        rest = {k: m for k, m in layers.items() if k != out}
        for k, m in rest.items():
            if m.out_features == 3 * inner:
                for mixed in (False, True):
                    heads = attention_heads(
                        model,
                        name,
                        heads=count,
                        projections=[prefix + k],
                        out=prefix + out,
                        interleaved=mixed,
                    )
                    yield replace(heads, counted_by=counted)
        equal = [k for k, m in rest.items() if m.out_features == inner]
        if len(equal) == 3:
            heads = attention_heads(
                model,
                name,
                heads=count,
                projections=[prefix + k for k in next(permutations(equal))],
                out=prefix + out,
            )
            yield replace(heads, counted_by=counted)


def spread_flat(
    group: NodeGroup,
    complete: Callable[[NodeGroup], bool],
    shape: Callable[[str], torch.Size],
) -> NodeGroup | None:
    """The group with readers of a flattened map: each node owns places / size indices in a row."""
    wide: list[Slice] = []
    for one in group.consumes:
        width = shape(one.param)[one.dim]
        if one.repeat == 1 and one.groups == 1 and width > group.size and width % group.size == 0:
            places = width // group.size
            wide.append(Slice(one.param, one.dim, 0, places, places))
        else:
            wide.append(one)
    if tuple(wide) == tuple(group.consumes):
        return None
    flat = replace(group, consumes=wide)
    return flat if complete(flat) else None
