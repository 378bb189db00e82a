"""Linear layers that store awake weights alone, in CSR or BSR form."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Tensor, nn

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


@final
class SparseLinear(nn.Module):
    """y = (W x')' + b with W in CSR form, or in blocks (BSR); for inference.

    Args:
        weight: dense, (out, in); zeros are left out.
        bias: (out,) or None.
        block: side of a square block, which divides both sizes of the weight; None = CSR.

    Shapes: (..., in) -> (..., out).

    Raises:
        SetupError: the blocks do not divide the weight.

    >>> layer = SparseLinear(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.tensor([1.0, 1.0]))
    >>> layer(torch.tensor([[5.0, 3.0]])), layer.values.numel()
    (tensor([[7., 1.]]), 1)
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, block: int | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.block = block
        if block is not None and any(n % block for n in weight.shape):
            raise SetupError(
                f"blocks of {block} x {block} do not divide a weight of {tuple(weight.shape)}"
            )
        with warnings.catch_warnings():  # "in beta state", once in every process
            warnings.simplefilter("ignore")
            dense = weight.detach()
            sparse = dense.to_sparse_csr() if block is None else dense.to_sparse_bsr((block, block))
        self.register_buffer("crow", sparse.crow_indices().to(torch.int32))
        self.register_buffer("col", sparse.col_indices().to(torch.int32))
        self.register_buffer("values", sparse.values())
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.crow: Tensor
        self.col: Tensor
        self.values: Tensor
        self.bias: Tensor | None

    @property
    def weight(self) -> Tensor:
        """The weight as a sparse tensor over the stored values."""
        make = torch.sparse_csr_tensor if self.block is None else torch.sparse_bsr_tensor
        size = (self.out_features, self.in_features)
        return make(self.crow, self.col, self.values, size, check_invariants=False)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs."""
        flat = x.reshape(-1, self.in_features)
        y = (self.weight @ flat.T).T
        y = y if self.bias is None else y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Sizes, and how many values are stored."""
        form = "csr" if self.block is None else f"bsr {self.block} x {self.block}"
        return f"{self.in_features}, {self.out_features}, {form}, {self.values.numel()} values"


def sparse_model(
    engine: SleepEngine,
    example_inputs: Any,
    *,
    block: int | None = None,
    at_least: float = 0.7,
) -> Exported:
    """A copy whose linear layers with enough zeros are `SparseLinear`, for inference.

    On a CPU, CSR begins to pay where 70 to 80 % are zero, and the more the larger the layer; the
    report says what it is here. Layers of which other modules read the weight itself (the output
    projection of `nn.MultiheadAttention`) stay dense.

    Args:
        engine: whose model is meant; its sleepers are zeros.
        example_inputs: real inputs.
        block: None = CSR; 16 = square blocks of that side, where zeros come in blocks.
        at_least: share of zeros (or of blocks of zeros) from which a layer is made sparse.

    Raises:
        SetupError: no layer has that many zeros, or the outputs differ by more than rounding.

    >>> net = nn.Sequential(nn.Linear(4, 4))
    >>> engine = SleepEngine(net)
    >>> engine.sleep_weights("0", (slice(0, 3), slice(None)))
    12
    >>> sparse_model(engine, torch.randn(2, 4)).model
    Sequential(
      (0): SparseLinear(4, 4, csr, 4 values)
    )
    """
    if not 0 <= at_least <= 1:
        raise SetupError(f"at_least={at_least!r}: a share from 0 to 1")
    if block is not None and (type(block) is not int or block < 1):
        raise SetupError(f"block={block!r}: the side of a square block, such as 16")
    full = masked_copy(engine)
    model = copy.deepcopy(full)
    changed: dict[str, str] = {}
    left: dict[str, str] = {}

    def made(name: str, layer: nn.Linear) -> nn.Module:
        if block is not None and any(n % block for n in layer.weight.shape):
            left[name] = f"blocks of {block} x {block} do not divide {tuple(layer.weight.shape)}"
            return layer
        zeros = _zeros(layer.weight, block)
        if zeros < at_least:
            of = "weights" if block is None else "blocks"
            left[name] = f"{zeros:.3f} of its {of} are zero"
            return layer
        changed[name] = f"{1 - zeros:.3f} stored"
        return SparseLinear(layer.weight, layer.bias, block)

    model = replaced(model, made)
    if not changed:
        told = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it has none"
        raise SetupError(f"no linear layer has {at_least} zeros: {told}")
    before = call(full, example_inputs)
    difference, tolerance = compared("the sparse model", before, _called(model, example_inputs))
    device = next((p.device for p in full.parameters()), None)
    report = ExportReport(
        "sparse model",
        (parameters_of(full), parameters_of(model) + _stored(model)),
        (bytes_of(full), bytes_of(model)),
        times(lambda: call(full, example_inputs), lambda: call(model, example_inputs), device),
        difference,
        tolerance,
        changed,
        left,
    )
    return Exported(model, report)


def replaced(model: nn.Module, made: Callable[[str, nn.Linear], nn.Module]) -> nn.Module:
    """The model with something else in place of its plain linear layers, wherever they are held."""
    if type(model) is nn.Linear:
        return made("", model)
    new: dict[int, nn.Module] = {}
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear:
            new[id(layer)] = made(name, layer)
    for parent, key, child in list(_children(model)):
        if id(child) in new:
            setattr(parent, key, new[id(child)])
    return model


def _children(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    for parent in model.modules():
        for key, child in parent._modules.items():
            if child is not None:
                yield parent, key, child


def _zeros(weight: Tensor, block: int | None) -> float:
    side = block or 1
    blocks = weight.detach().unfold(0, side, side).unfold(1, side, side)
    return float((blocks == 0).all(-1).all(-1).double().mean())


def _called(model: nn.Module, inputs: Any) -> list[Tensor]:
    try:
        return call(model, inputs)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise SetupError(
            f"the model does not run with sparse layers: {error}. A module that reads the weights "
            "of its linear layers itself (nn.TransformerEncoderLayer) cannot have them sparse"
        ) from error


def _stored(model: nn.Module) -> int:
    layers = [m for m in model.modules() if isinstance(m, SparseLinear)]
    return sum(m.values.numel() + (0 if m.bias is None else m.bias.numel()) for m in layers)
