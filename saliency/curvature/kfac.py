"""Kronecker factors of the Gauss-Newton or Fisher matrix of a layer's weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from saliency.curvature.functional import check_loss, live, loss_of
from saliency.curvature.kronecker import KroneckerFactors
from saliency.curvature.layer_columns import layer_columns
from saliency.curvature.request import DiagonalRequest, finite
from saliency.curvature.storage import width_dtype
from saliency.problem import Problem, batch_size

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@final
@dataclass(frozen=True)
class KFAC:
    """F of a weight [out, in] ~ G (x) A: A = E[a a'], G = E[sum over outputs of g g'].

    a is the layer's input, g a column of the Gauss-Newton root at its output. For convolutions a
    is a patch, A a sum and G a mean over places. Exact for a linear network under a squared
    error; an approximation that treats a and g as independent otherwise.

    `KFAC()(problem)` gives the factors, `KFACDiagonal()` their diagonal for scorers.

    Raises:
        TypeError: A parameter is not the weight of a Linear or an ungrouped Conv layer.
        ValueError: A layer is used twice or not at all, or the problem has no loss of
            (output, target).

    Source: Martens and Grosse 2015 (arXiv:1503.05671); Grosse and Martens 2016 for convolutions.

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> half = lambda output, target: (output - target).square().mean() / 2
    >>> factors = KFAC()(Problem(layer, {"weight": layer.weight}, [batch], half))
    >>> factors.inputs["weight"], factors.outputs["weight"]
    (tensor([[1., 2.],
            [2., 4.]]), tensor([[1.]]))
    """

    def __call__(self, problem: Problem) -> KroneckerFactors:
        """The factors of each weight."""
        layers = {name: _layer(problem.model, name) for name in problem.params}
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        samples = 0
        with problem.calm():
            for batch in problem.each():
                check_loss(loss_of(problem, live(problem), batch))
                for name, (a, g) in _batch_factors(problem, layers, batch).items():
                    inputs[name] = inputs[name] + a if name in inputs else a
                    outputs[name] = outputs[name] + g if name in outputs else g
                samples += batch_size(batch)
                problem.report("Kronecker factors", samples)
        shapes = {name: p.shape for name, p in problem.params.items()}
        return KroneckerFactors(
            finite(repr(self), {name: a / samples for name, a in inputs.items()}),
            finite(repr(self), {name: g / samples for name, g in outputs.items()}),
            shapes,
        )


@final
@dataclass(frozen=True)
class KFACDiagonal(DiagonalRequest):
    """The diagonal of `KFAC()`: G_ii A_jj for weight (i, j).

    >>> layer = torch.nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[1.0, 2.0]]), torch.zeros(1, 1))
    >>> half = lambda output, target: (output - target).square().mean() / 2
    >>> KFACDiagonal()(Problem(layer, {"weight": layer.weight}, [batch], half))
    {'weight': tensor([[1., 4.]])}
    """

    factors: KFAC = field(default_factory=KFAC)

    def __call__(self, problem: Problem) -> dict[str, Tensor]:
        """The diagonal; tensors of the weights' shapes."""
        return self.factors(problem).diagonal()

    def check(self, model: nn.Module, params: Mapping[str, Tensor]) -> None:
        """Whether all are weights of layers that have factors."""
        for name in params:
            _layer(model, name)


def _layer(model: nn.Module, name: str) -> Layer:
    path, _, own = name.rpartition(".")
    layer = model.get_submodule(path)
    plain = isinstance(layer, nn.Linear) or (
        isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )
    if own != "weight" or not plain:
        raise TypeError(
            f"KFAC: {name!r} belongs to {layer}; it must be the weight of a Linear layer, or of a "
            "Conv layer with groups=1, zero padding and the padding given in numbers."
        )
    assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return layer


def _batch_factors(
    problem: Problem, layers: dict[str, Layer], batch: Any
) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums over the samples of one batch."""
    inputs, columns = layer_columns(problem, layers, batch)
    sums: dict[str, Tensor] = {}
    for gradients in columns:
        for name, g in gradients.items():
            rows = _places(layers[name], g.to(width_dtype(g)))
            sums[name] = sums.get(name, torch.zeros((), device=g.device)) + rows.T @ rows
    result = {}
    for name, a in inputs.items():
        patches = _patches(layers[name], a.to(width_dtype(a)))
        # The places of an output are averaged in G, since A sums over them.
        places = max(1, len(patches) // len(a))
        result[name] = (patches.T @ patches, sums[name] / places)
    return result


def _places(layer: Layer, g: Tensor) -> Tensor:
    """[samples x places, out]."""
    return g.flatten(0, -2) if isinstance(layer, nn.Linear) else g.movedim(1, -1).flatten(0, -2)


def _patches(layer: Layer, a: Tensor) -> Tensor:
    """[samples x places, in], in the weight's order."""
    if isinstance(layer, nn.Linear):
        return a.flatten(0, -2)
    # The last axis comes first in pad().
    both = [int(p) for p in layer.padding for _ in range(2)][::-1]
    a = nn.functional.pad(a, both)
    steps = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for dim, (size, stride, dilation) in enumerate(steps, start=2):
        a = a.unfold(dim, dilation * (size - 1) + 1, stride)[..., ::dilation]
    kernel = len(layer.kernel_size)
    # [n, in, *places, *kernel] -> [n, *places, in, *kernel]
    return a.movedim(1, -1 - kernel).flatten(-1 - kernel).flatten(0, -2)
