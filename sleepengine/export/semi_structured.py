"""2:4 layers for the sparse tensor cores of a GPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import SetupError
from sleepengine.export.report import (
    Exported,
    ExportReport,
    bytes_of,
    call,
    compared,
    parameters_of,
    times,
)
from sleepengine.export.smaller import masked_copy
from sleepengine.export.sparse import replaced

_DTYPES = (torch.float16, torch.bfloat16)
_CAPABILITY = (8, 0)


def two_of_four_model(engine: SleepEngine, example_inputs: Any) -> Exported:
    """A copy whose 2:4 linear layers are stored in PyTorch's semi-structured form.

    A layer takes part when at most 2 of every 4 consecutive inputs of each output are awake (as
    `NofM(2, 4)` leaves them), in float16 or bfloat16.

    Raises:
        SetupError: the model is not on a CUDA device with sparse tensor cores (compute capability
            8.0), no layer qualifies, or the outputs differ by more than rounding.
    """
    full = masked_copy(engine)
    devices = {p.device for p in full.parameters()}
    if len(devices) != 1 or next(iter(devices)).type != "cuda":
        where = ", ".join(sorted(map(str, devices))) or "nowhere"
        raise SetupError(
            f"two_of_four_model() needs sparse tensor cores, and the model is on {where}: move it "
            "and the example inputs to a CUDA device of compute capability 8.0 or above. On a CPU "
            "sparse_model() stores sparse weights"
        )
    device = next(iter(devices))
    if torch.cuda.get_device_capability(device) < _CAPABILITY:
        raise SetupError(f"{torch.cuda.get_device_name(device)} has no sparse tensor cores")
    changed: dict[str, str] = {}
    left: dict[str, str] = {}

    def made(name: str, layer: nn.Linear) -> nn.Module:
        reason = unfit(layer.weight)
        if reason is None:
            try:
                packed = to_sparse_semi_structured(layer.weight.detach())
            except (RuntimeError, ValueError) as error:
                reason = str(error)
        if reason is not None:
            left[name] = reason
            return layer
        layer.weight = nn.Parameter(packed, requires_grad=False)
        changed[name] = "2:4"
        return layer

    model = replaced(copy.deepcopy(full), made)
    if not changed:
        told = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it has none"
        raise SetupError(f"no linear layer can be stored as 2:4: {told}")
    before, after = call(full, example_inputs), call(model, example_inputs)
    difference, tolerance = compared("the 2:4 model", before, after)
    saved = sum(_saved(layer) for name, layer in full.named_modules() if name in changed)
    report = ExportReport(
        "2:4 model",
        (parameters_of(full), parameters_of(full)),
        (bytes_of(full), bytes_of(full) - saved),
        times(lambda: call(full, example_inputs), lambda: call(model, example_inputs), device),
        difference,
        tolerance,
        changed,
        left,
    )
    return Exported(model, report)


def unfit(weight: Tensor) -> str | None:
    """Why a weight cannot be stored as 2:4; None when nothing speaks against it.

    >>> unfit(torch.tensor([[1.0, 0.0, 0.0, 2.0]], dtype=torch.bfloat16))
    >>> unfit(torch.ones(1, 4, dtype=torch.float16))
    'more than 2 of 4 consecutive inputs are awake'
    """
    if weight.dtype not in _DTYPES:
        return f"{weight.dtype} is neither float16 nor bfloat16"
    if weight.shape[1] % 4:
        return f"{weight.shape[1]} inputs do not divide into fours"
    if bool((weight.detach().unflatten(1, (-1, 4)) != 0).sum(-1).gt(2).any()):
        return "more than 2 of 4 consecutive inputs are awake"
    return None


def _saved(layer: nn.Module) -> int:
    """Half of the values go; what stays of each four is told in 4 bits."""
    weight = layer.weight
    if not isinstance(weight, Tensor):
        return 0
    return weight.numel() * weight.element_size() // 2 - weight.numel() // 8
