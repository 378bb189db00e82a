"""The sizes that layers write down: what they are once tensors are cut, or why they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

Shapes = Mapping[str, torch.Size]
"""Attribute -> shape of a tensor of one module, once it is cut."""


class RefusedError(Exception):
    """Why something stays as it was; caught where the reason gets the name of its group."""


def new_sizes(module: nn.Module, shapes: Shapes, groups: int | None) -> dict[str, int]:
    """Attribute -> value, of a layer whose tensors have these shapes.

    Args:
        module: the layer.
        shapes: of all its tensors, cut or not.
        groups: blocks that remain of a grouped convolution.

    Raises:
        RefusedError: the layer cannot work with them.

    >>> new_sizes(nn.Linear(4, 3), {"weight": torch.Size([3, 2])}, None)
    {'in_features': 2, 'out_features': 3}
    """
    for kinds, sizes in _TABLE:
        if isinstance(module, kinds):
            return sizes(module, shapes, groups)
    return {}


def _linear(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    out, width = shapes["weight"]
    return {"in_features": width, "out_features": out}


def _bilinear(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    out, one, two = shapes["weight"]
    return {"in1_features": one, "in2_features": two, "out_features": out}


def _conv(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    first, second = shapes["weight"][:2]
    blocks = module.groups if groups is None else groups
    made, read = (second * blocks, first) if module.transposed else (first, second * blocks)
    return {"in_channels": read, "out_channels": made, "groups": blocks}


def _norm(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    return {"num_features": next(iter(s for s in shapes.values() if s))[0]}


def _averages(module: nn.Module, shapes: Shapes, groups: int | None) -> dict[str, int]:
    raise RefusedError(f"{type(module).__name__} averages over them, sleeping ones included")


def _embedding(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    if shapes["weight"][0] != module.num_embeddings:
        raise RefusedError("rows of an embedding are looked up by number, so none can go")
    return {"embedding_dim": shapes["weight"][1]}


def _prelu(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    return {"num_parameters": shapes["weight"][0]}


_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _recurrent(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    gates, ways = _GATES[module.mode], 2 if module.bidirectional else 1
    units = {name: s[0] // gates for name, s in shapes.items() if name.startswith("weight_ih")}
    if len(set(units.values())) != 1:
        told = ", ".join(f"{name.removeprefix('weight_ih_')} {n}" for name, n in units.items())
        raise RefusedError(
            f"{type(module).__name__} has one number of units for all its layers and directions, "
            f"and awake are {told}"
        )
    hidden = next(iter(units.values()))
    out = module.proj_size or hidden
    for name, shape in shapes.items():
        inner = name.startswith("weight_ih") and not name.startswith("weight_ih_l0")
        if inner and shape[1] != out * ways:
            raise RefusedError(f"{name} reads {shape[1]} of the {out * ways} units below it")
    return {"hidden_size": hidden, "input_size": shapes["weight_ih_l0"][1]}


def _cell(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    return {"hidden_size": shapes["weight_hh"][1], "input_size": shapes["weight_ih"][1]}


def _attention(module: Any, shapes: Shapes, groups: int | None) -> dict[str, int]:
    if "in_proj_weight" in shapes:
        inner, width = shapes["in_proj_weight"][0] // 3, shapes["in_proj_weight"][1]
    else:
        inner, width = shapes["q_proj_weight"]
    if inner == module.embed_dim == width:
        return {}
    if inner != width or inner % module.head_dim:
        d = module.head_dim
        raise RefusedError(
            "MultiheadAttention takes the width of its heads from the width of its input (torch's "
            "multi_head_attention_forward views q, k and v with the width of the query), so "
            f"{inner // d} heads of {d} cannot serve a width of {width}. They sleep as zeros. To "
            "cut heads, write the attention with linear layers, as attention_heads(model, layer, "
            "heads=, projections=, out=) takes it, or let channels sleep in the same measure"
        )
    same = {"kdim": width, "vdim": width} if module._qkv_same_embed_dim else {}
    return {"embed_dim": width, "num_heads": inner // module.head_dim, **same}


_TABLE: tuple[
    tuple[tuple[type[nn.Module], ...], Callable[[Any, Shapes, int | None], dict[str, int]]], ...
] = (
    ((nn.Linear,), _linear),
    ((nn.Bilinear,), _bilinear),
    ((nn.modules.conv._ConvNd,), _conv),
    ((nn.modules.batchnorm._NormBase,), _norm),
    ((nn.LayerNorm, nn.GroupNorm, nn.RMSNorm), _averages),
    ((nn.Embedding, nn.EmbeddingBag), _embedding),
    ((nn.PReLU,), _prelu),
    ((nn.RNNBase,), _recurrent),
    ((nn.RNNCellBase,), _cell),
    ((nn.MultiheadAttention,), _attention),
)
