"""The trial: the small model gives the outputs of the masked one, or it is not used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.nodes.proving import tensors_of

TOLERANCE: Mapping[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 5e-2,
}
"""Largest difference that is rounding, relative to the largest output."""
_NORMS = nn.modules.batchnorm._NormBase
_DROPS = nn.modules.dropout._DropoutNd
_RATES = (nn.RNNBase, nn.MultiheadAttention)


@final
class Trial:
    """Outputs on example inputs: in evaluation, in training, and in training with dropout.

    Normalisations keep to their running statistics, so that one example is enough. Buffers, modes
    and the random state are as before afterwards.

    Args:
        model: the live model.
        inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self._model, self._inputs = model, inputs
        self.draws = any(
            (isinstance(m, _DROPS) and m.p > 0) or (isinstance(m, _RATES) and m.dropout > 0)
            for m in model.modules()
        )

    def outputs(self) -> list[list[Tensor]]:
        """The outputs of each mode, from one state of the random numbers."""
        with _as_before(self._model):
            self._model.eval()
            found = [self._run()]
            for module in self._model.modules():
                module.training = not isinstance(module, (_NORMS, _DROPS))
            rates = [(m, m.dropout) for m in self._model.modules() if isinstance(m, _RATES)]
            for drawing, _ in rates:
                drawing.dropout = 0.0
            try:
                found.append(self._run())
            finally:
                for drawing, rate in rates:
                    drawing.dropout = rate
            if self.draws:
                for module in self._model.modules():
                    module.training = not isinstance(module, _NORMS)
                found.append(self._run())
        return found

    def _run(self) -> list[Tensor]:
        devices = {p.device for p in self._model.parameters() if p.device.type == "cuda"}
        with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.no_grad():
            torch.manual_seed(0)
            if isinstance(self._inputs, Mapping):
                result = self._model(**self._inputs)
            elif isinstance(self._inputs, (tuple, list)):
                result = self._model(*self._inputs)
            else:
                result = self._model(self._inputs)
            return [one.clone() for one in tensors_of(result)]


def difference(before: list[Tensor], after: list[Tensor]) -> str | None:
    """How two lists of outputs differ beyond rounding; None when they do not.

    >>> difference([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.0 + 1e-6])])
    >>> difference([torch.zeros(2)], [torch.ones(1)])
    'an output has the shape (1,) in place of (2,)'
    """
    if len(before) != len(after):
        return f"it returns {len(after)} tensors in place of {len(before)}"
    for one, other in zip(before, after, strict=True):
        if one.shape != other.shape:
            return f"an output has the shape {tuple(other.shape)} in place of {tuple(one.shape)}"
        if not one.numel():
            continue
        if not one.is_floating_point():
            if not torch.equal(one, other):
                return "an output of whole numbers differs"
            continue
        largest = float(one.abs().max())
        moved = float((one - other).abs().max())
        allowed = TOLERANCE.get(one.dtype, 1e-5) * max(largest, torch.finfo(one.dtype).tiny)
        if not moved <= allowed:  # a NaN is a difference too
            return f"an output differs by {moved:.3g}, where {allowed:.3g} would be rounding"
    return None


@contextmanager
def _as_before(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(b, b._version, b.detach().clone()) for b in model.buffers()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, version, value in buffers:
                if buffer._version != version:
                    buffer.copy_(value)
