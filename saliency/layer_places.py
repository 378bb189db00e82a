"""Where a weight meets its inputs: the rows that it multiplies, and what comes out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

# Unfolded inputs are handed out in pieces of about this many numbers.
PIECE = 1 << 24

Rows = Iterator[tuple[int, Tensor]]
"""Pairs (first group, inputs [groups, positions, fan_in]), in pieces."""


class Place(ABC):
    """One use of one weight as rows of dot products: out[r] = sum_j weight[r, j] x[g(r), j].

    The weight's rows are cut into `groups` equal runs, each with inputs of its own. Entries of a
    row are in row-major order, so that `weight.flatten(1)` fits the inputs.
    """

    groups: int = 1
    has_outputs: bool = True
    reruns: bool = False  # whether `inputs` runs the module once more

    @property
    @abstractmethod
    def watched(self) -> nn.Module:
        """The module whose forward is watched."""

    @abstractmethod
    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rows:
        """What the rows were multiplied with, from the arguments of that forward."""

    def outputs(self, output: Any) -> Tensor:
        """What came out, [positions, units]."""
        return output.reshape(-1, output.shape[-1])


@final
@dataclass(frozen=True)
class LinearPlace(Place):
    """A Linear layer."""

    layer: nn.Linear

    @property
    def watched(self) -> nn.Module:
        """The layer."""
        return self.layer

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rows:
        """All leading dimensions are positions."""
        x = _argument(args, kwargs, 0, "input")
        yield 0, x.reshape(1, -1, x.shape[-1])


@final
@dataclass(frozen=True)
class ConvPlace(Place):
    """A convolution over 1, 2 or 3 dimensions."""

    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d

    @property
    def watched(self) -> nn.Module:
        """The layer."""
        return self.layer

    @property
    def groups(self) -> int:  # type: ignore[override]
        """The groups of channels."""
        return self.layer.groups

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rows:
        """Each output position is one row: the window of every channel that it sees."""
        layer, x = self.layer, _argument(args, kwargs, 0, "input")
        sides = len(layer.kernel_size)
        if x.dim() == sides + 1:  # without a batch dimension
            x = x.unsqueeze(0)
        zeros = layer.padding_mode == "zeros"
        x = F.pad(x, _padding(layer), mode="constant" if zeros else layer.padding_mode)
        for side, (k, s, d) in enumerate(
            zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
        ):
            x = x.unfold(2 + side, (k - 1) * d + 1, s)[..., ::d]
        x = x.movedim(1, 1 + sides)  # [batch, *positions, channels, *window]
        width = x.shape[1 + sides :].numel()
        step = max(1, PIECE // max(1, x[:1].numel()))
        for piece in x.split(step):
            rows = piece.reshape(-1, layer.groups, width // layer.groups)
            yield 0, rows.transpose(0, 1)

    def outputs(self, output: Tensor) -> Tensor:
        """Channels are the units."""
        return output.movedim(-1 - len(self.layer.kernel_size), -1).reshape(
            -1, self.layer.out_channels
        )


@final
@dataclass(frozen=True)
class AttentionInput(Place):
    """A projection of queries, keys or values; all three are thirds of the packed one."""

    layer: nn.MultiheadAttention
    names: tuple[str, ...]
    has_outputs = False

    @property
    def watched(self) -> nn.Module:
        """The attention."""
        return self.layer

    @property
    def groups(self) -> int:  # type: ignore[override]
        """One per argument."""
        return len(self.names)

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rows:
        """Masked positions count too."""
        for group, name in enumerate(self.names):
            x = _argument(args, kwargs, _ATTENTION_ARGUMENTS.index(name), name)
            yield group, x.reshape(1, -1, x.shape[-1])


@final
@dataclass(frozen=True)
class AttentionOutput(Place):
    """The projection of the attended values, which no module is called for."""

    layer: nn.MultiheadAttention
    reruns = True

    @property
    def watched(self) -> nn.Module:
        """The attention."""
        return self.layer

    def inputs(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rows:
        """The attention once more, with the identity as its last projection."""
        w, bias = self.layer.out_proj.weight, self.layer.out_proj.bias
        swapped = {"out_proj.weight": torch.eye(len(w), dtype=w.dtype, device=w.device)}
        if bias is not None:
            swapped["out_proj.bias"] = torch.zeros_like(bias)
        x = functional_call(self.layer, swapped, tuple(args), dict(kwargs))[0]
        yield 0, x.reshape(1, -1, x.shape[-1])

    def outputs(self, output: Any) -> Tensor:
        """The first of what the attention returns."""
        return super().outputs(output[0])


_ATTENTION_ARGUMENTS = ("query", "key", "value")
_ATTENTION_WEIGHTS = {
    "in_proj_weight": _ATTENTION_ARGUMENTS,
    "q_proj_weight": ("query",),
    "k_proj_weight": ("key",),
    "v_proj_weight": ("value",),
}


def places_of(model: nn.Module, params: Mapping[str, Tensor]) -> dict[str, list[Place]]:
    """Name -> every place where the parameter is used; a tied one has several.

    Raises:
        ValueError: Names all parameters whose inputs cannot be had, each with the reason.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    >>> [type(place).__name__ for place in places_of(net, {"0.weight": net[0].weight})["0.weight"]]
    ['LinearPlace']
    >>> places_of(net, {"1.weight": net[1].weight})
    Traceback (most recent call last):
    ValueError: Inputs cannot be read of '1.weight' (LayerNorm.weight). They can be of the weights \
of Linear, Conv1d, Conv2d, Conv3d and MultiheadAttention.
    """
    lasts = {id(m.out_proj): m for m in model.modules() if isinstance(m, nn.MultiheadAttention)}
    uses: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            uses.setdefault(id(parameter), []).append((module, attribute))
    found: dict[str, list[Place]] = {}
    refused: list[str] = []
    for name, wanted in params.items():
        places = found[name] = []
        for module, attribute in uses.get(id(wanted), []):
            place = _place(module, attribute, lasts.get(id(module)))
            if place is None:
                refused.append(f"{name!r} ({type(module).__name__}.{attribute})")
            else:
                places.append(place)
        if id(wanted) not in uses:
            refused.append(f"{name!r} (no parameter of the model)")
    if refused:
        raise ValueError(
            f"Inputs cannot be read of {', '.join(refused)}. They can be of the weights of "
            "Linear, Conv1d, Conv2d, Conv3d and MultiheadAttention."
        )
    return found


def _place(
    module: nn.Module, attribute: str, attention: nn.MultiheadAttention | None
) -> Place | None:
    if isinstance(module, nn.MultiheadAttention):
        names = _ATTENTION_WEIGHTS.get(attribute)
        return None if names is None else AttentionInput(module, names)
    if attribute != "weight":
        return None
    if attention is not None:
        return AttentionOutput(attention)
    if isinstance(module, nn.Linear):
        return LinearPlace(module)
    return ConvPlace(module) if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) else None


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str) -> Tensor:
    return args[position] if position < len(args) else kwargs[name]


def _padding(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> list[int]:
    """Cells to add before and after each side, last side first, as `pad` takes them."""
    pairs: list[tuple[int, int]] = []
    for side, (k, d) in enumerate(zip(layer.kernel_size, layer.dilation, strict=True)):
        if layer.padding == "same":
            both = d * (k - 1)
            pairs.append((both // 2, math.ceil(both / 2)))
        elif layer.padding == "valid":
            pairs.append((0, 0))
        else:
            pairs.append((int(layer.padding[side]),) * 2)
    return [cells for pair in reversed(pairs) for cells in pair]
