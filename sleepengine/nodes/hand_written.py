"""Node groups inside one layer: attention heads and recurrent units need no graph."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sleepengine.errors import SetupError
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import Slice

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def attention_heads(
    model: nn.Module,
    layer: str,
    *,
    heads: int | None = None,
    projections: Sequence[str] = (),
    out: str | None = None,
    interleaved: bool = False,
) -> NodeGroup:
    """Head h of d = inner / heads: rows h d ... h d + d - 1 of q, k and v; those columns of `out`.

    Args:
        model: the model.
        layer: name of an `nn.MultiheadAttention`, or of the module that holds the projections.
        heads: number of heads, where the projections are linear layers.
        projections: names of the linear layers for q, k and v, or of the one that gives all three.
        out: name of the linear layer that reads the heads.
        interleaved: one layer gives q, k and v head by head instead of q, then k, then v.

    Raises:
        SetupError: sizes do not fit.

    >>> group = attention_heads(nn.Sequential(nn.MultiheadAttention(4, 2)), "0")
    >>> group.size, group.produces[1]
    (2, Slice(param='0.in_proj_weight', dim=0, start=4, stride=2, repeat=2, groups=1, index=None))
    """
    module = model.get_submodule(layer)
    if isinstance(module, nn.MultiheadAttention):
        return _packed_heads(module, layer)
    if heads is None or not projections or out is None:
        raise SetupError(
            f"attention_heads({layer!r}): {type(module).__name__} is no nn.MultiheadAttention; "
            "give heads=, projections=('...q', '...k', '...v') or ('...qkv',), and out="
        )
    reader = _linear(model, out)
    inner = reader.in_features
    if inner % heads:
        raise SetupError(f"attention_heads({layer!r}): {heads} heads do not divide {inner}")
    d = inner // heads
    produces: list[Slice] = []
    biases: list[Slice] = []
    for name in projections:
        linear = _linear(model, name)
        parts = linear.out_features // inner
        if linear.out_features != parts * inner or len(projections) * parts != 3:
            raise SetupError(
                f"attention_heads({layer!r}): {name!r} gives {linear.out_features} numbers, and "
                f"q, k and v take {inner} each"
            )
        for part in range(parts):
            start, stride = (part * d, parts * d) if interleaved else (part * inner, d)
            produces.append(Slice(f"{name}.weight", 0, start, stride, d))
            if linear.bias is not None:
                biases.append(Slice(f"{name}.bias", 0, start, stride, d))
    reads = [Slice(f"{out}.weight", 1, 0, d, d)]
    return NodeGroup(layer or "heads", heads, produces, reads, biases, works_in=[layer])


def recurrent_units(
    model: nn.Module, layer: str, readers: Sequence[str | Slice] = ()
) -> list[NodeGroup]:
    """Unit j of H: row j of every gate, and column j of whatever reads it, the layer itself too.

    One group for each layer of the stack and each direction: "lstm" alone, else "lstm.l0",
    "lstm.l0_reverse", "lstm.l1", ...

    Args:
        model: the model.
        layer: name of an nn.LSTM, nn.GRU or nn.RNN.
        readers: weights that read the output of the last layer along dimension 1, or slices for
            the forward direction (the other one begins `hidden_size` later).

    Raises:
        SetupError: it is none of these.

    >>> [g.name for g in recurrent_units(nn.Sequential(nn.GRU(2, 3, num_layers=2)), "0")]
    ['0.l0', '0.l1']
    """
    module = model.get_submodule(layer)
    if not isinstance(module, nn.RNNBase):
        raise SetupError(f"recurrent_units({layer!r}): {type(module).__name__} is no nn.RNNBase")
    gates, H = _GATES[module.mode], module.hidden_size
    directions = ("", "_reverse") if module.bidirectional else ("",)
    prefix = f"{layer}." if layer else ""
    groups: list[NodeGroup] = []
    for depth in range(module.num_layers):
        for d, way in enumerate(directions):
            end = f"_l{depth}{way}"
            rows = [g * H for g in range(gates)]
            kinds = [f"{prefix}weight_ih{end}", f"{prefix}weight_hh{end}"]
            biases = [f"{prefix}bias_ih{end}", f"{prefix}bias_hh{end}"] if module.bias else []
            if module.proj_size:  # what leaves the layer is a projection of the units
                reads = [Slice(f"{prefix}weight_hr{end}", 1)]
            else:
                reads = [Slice(f"{prefix}weight_hh{end}", 1)]
                if depth + 1 < module.num_layers:
                    above = [f"{prefix}weight_ih_l{depth + 1}{other}" for other in directions]
                    reads += [Slice(name, 1, d * H) for name in above]
                else:
                    reads += [_reader(one, d * H) for one in readers]
            single = module.num_layers == 1 and not module.bidirectional
            groups.append(
                NodeGroup(
                    layer if single and layer else f"{prefix}l{depth}{way}",
                    H,
                    [Slice(name, 0, start) for name in kinds for start in rows],
                    reads,
                    [Slice(name, 0, start) for name in biases for start in rows],
                )
            )
    return groups


def _packed_heads(module: nn.MultiheadAttention, layer: str) -> NodeGroup:
    prefix = f"{layer}." if layer else ""
    E, d = module.embed_dim, module.head_dim
    if module.in_proj_weight is not None:
        produces = [Slice(f"{prefix}in_proj_weight", 0, k * E, d, d) for k in range(3)]
    else:
        produces = [Slice(f"{prefix}{k}_proj_weight", 0, 0, d, d) for k in "qkv"]
    per_node = []
    if module.in_proj_bias is not None:
        per_node += [Slice(f"{prefix}in_proj_bias", 0, k * E, d, d) for k in range(3)]
    if module.bias_k is not None:
        per_node += [Slice(f"{prefix}bias_{k}", 2, 0, d, d) for k in "kv"]
    reads = [Slice(f"{prefix}out_proj.weight", 1, 0, d, d)]
    heads = module.num_heads
    return NodeGroup(layer or "heads", heads, produces, reads, per_node, works_in=[layer])


def _linear(model: nn.Module, name: str) -> nn.Linear:
    module = model.get_submodule(name)
    if not isinstance(module, nn.Linear):
        raise SetupError(f"{name!r} is a {type(module).__name__}; attention_heads needs nn.Linear")
    return module


def _reader(one: str | Slice, offset: int) -> Slice:
    if isinstance(one, str):
        return Slice(one, 1, offset)
    return Slice(one.param, one.dim, one.start + offset, one.stride, one.repeat, one.groups)
