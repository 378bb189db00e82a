"""What an export did, measured: size, time and difference, before and after."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.compaction.trial import TOLERANCE
from sleepengine.errors import SetupError
from sleepengine.nodes.proving import tensors_of

Run = Callable[[], Any]
_ROUNDS, _SECONDS = 15, 1.0


@final
@dataclass(frozen=True)
class ExportReport:
    """Before is the masked model at full size, after is what was exported.

    Args:
        what: the kind of export.
        parameters, bytes: numbers stored in parameters, and bytes of all stored tensors (of the
            file, for a file).
        milliseconds: median of a forward pass on the example inputs, both measured in turn in this
            process, with its number of threads.
        difference: largest difference of an output, relative to the largest output.
        tolerance: what it had to be below.
        changed: name -> what was done to it.
        left: name -> why it stayed as it was.

    >>> print(ExportReport("smaller", (100, 25), (400, 100), (2.0, 1.0), 0.0, 1e-5))
    smaller: 25 of 100 parameters, 100 of 400 bytes, 1 of 2 ms (2.00x), difference 0 of 1e-05
    """

    what: str
    parameters: tuple[int, int]
    bytes: tuple[int, int]
    milliseconds: tuple[float, float]
    difference: float
    tolerance: float
    changed: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def speedup(self) -> float:
        """Time before / time after."""
        return self.milliseconds[0] / self.milliseconds[1]

    def __str__(self) -> str:
        """One line, and one for each thing that stayed as it was."""
        (p, q), (b, c), (s, t) = self.parameters, self.bytes, self.milliseconds
        line = (
            f"{self.what}: {q} of {p} parameters, {c} of {b} bytes, {t:.3g} of {s:.3g} ms "
            f"({self.speedup:.2f}x), difference {self.difference:.2g} of {self.tolerance:.0e}"
        )
        return "\n".join([line, *(f"  {name}: {why}" for name, why in self.left.items())])


@final
@dataclass(frozen=True)
class Exported:
    """A plain model, in evaluation mode, and what is known of it."""

    model: nn.Module
    report: ExportReport


def call(model: nn.Module, inputs: Any) -> list[Tensor]:
    """All tensors that the model returns, without gradients.

    Args:
        model: any model.
        inputs: a tensor, a tuple of arguments, or a dict of keyword arguments.
    """
    with torch.no_grad():
        if isinstance(inputs, Mapping):
            found = model(**inputs)
        elif isinstance(inputs, (tuple, list)):
            found = model(*inputs)
        else:
            found = model(inputs)
    return [one.clone() for one in tensors_of(found)]


def compared(what: str, before: Sequence[Tensor], after: Sequence[Tensor]) -> tuple[float, float]:
    """Largest relative difference of two lists of outputs, and the tolerance of their dtype.

    Raises:
        SetupError: they differ by more, or in number or shape.

    >>> compared("a copy", [torch.tensor([2.0])], [torch.tensor([2.0])])
    (0.0, 1e-05)
    """
    if [one.shape for one in before] != [one.shape for one in after]:
        raise SetupError(f"{what} does not return the outputs of the model")
    worst, allowed = 0.0, 0.0
    for one, other in zip(before, after, strict=True):
        if not one.numel():
            continue
        tolerance = TOLERANCE.get(one.dtype, 0.0)
        largest = max(float(one.abs().max()), torch.finfo(torch.float32).tiny)
        moved = float((one.double() - other.double()).abs().max()) / largest
        if not moved <= tolerance:  # a NaN is a difference too
            raise SetupError(
                f"{what} computes something else: an output differs by {moved:.3g} of its "
                f"largest value, where {tolerance:.0e} would be rounding"
            )
        worst, allowed = max(worst, moved), max(allowed, tolerance)
    return worst, allowed


def times(before: Run, after: Run, device: torch.device | None = None) -> tuple[float, float]:
    """Median milliseconds of two calls, made in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    begun = time.perf_counter()
    for turn in range(_ROUNDS + 2):
        for run, into in zip((before, after), found, strict=True):
            start = time.perf_counter()
            run()
            if device is not None and device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn >= 2:  # the first turns warm up
                into.append(1000 * (time.perf_counter() - start))
        if turn >= 2 and time.perf_counter() - begun > _SECONDS:
            break
    return median(found[0]), median(found[1])


def parameters_of(model: nn.Module) -> int:
    """Numbers in parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def bytes_of(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, each once."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())
