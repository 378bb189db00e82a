"""Small made-up signals that have everything a scorer may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saliency.counter_random import counter_uniform
from saliency.example_problem import example_problem
from saliency.signals import Signals

if TYPE_CHECKING:
    from saliency.scorer import Scorer

# An empty tensor stands for a process that holds no row of a sharded one.
_SHAPES = {"fc.weight": (4, 3), "conv.weight": (3, 2, 2, 2), "empty.weight": (0, 3)}


def example_signals(dtype: torch.dtype = torch.float32, *, seed: int = 0, step: int = 0) -> Signals:
    """Every signal for three weights, one of them without entries; a third is asleep.

    Values lie in (-1, 1), awake weights and gradients are never 0, curvature is positive,
    activations have the weights' shapes and are positive. `fc.weight` is not contiguous.

    >>> signals = example_signals()
    >>> {name: tuple(w.shape) for name, w in signals.weights.items()}
    {'fc.weight': (4, 3), 'conv.weight': (3, 2, 2, 2), 'empty.weight': (0, 3)}
    >>> bool((signals.weights["fc.weight"][~signals.awake["fc.weight"]] == 0).all())
    True
    """

    def drawn(what: str, *, positive: bool = False) -> dict[str, Tensor]:
        out = {}
        for name, shape in _SHAPES.items():
            u = counter_uniform(seed, step=step, name=f"{what} {name}", shape=shape)
            magnitude = u * 0.9 + 0.05
            sign = counter_uniform(seed, step=step, name=f"sign {what} {name}", shape=shape)
            value = magnitude if positive else torch.where(sign < 0.5, -magnitude, magnitude)
            out[name] = value.to(dtype)
        out["fc.weight"] = out["fc.weight"].t().contiguous().t()
        return out

    awake = {
        name: torch.arange(w.numel()).remainder(3).ne(1).reshape(w.shape)
        for name, w in drawn("weights").items()
    }
    # A tensor without an entry is wholly awake.
    del awake["conv.weight"]
    values = drawn("weights")
    weights = {n: w.masked_fill(~awake[n], 0) if n in awake else w for n, w in values.items()}
    parked = {n: values[n].masked_fill(mask, 0) for n, mask in awake.items()}
    return Signals(
        weights=weights,
        grads=drawn("grads"),
        activations=drawn("activations", positive=True),
        curvature=drawn("curvature", positive=True),
        anchor=drawn("anchor"),
        moments=drawn("moments"),
        parked=parked,
        awake=awake,
        seed=seed,
        step=step,
    )


def example_for(scorer: Scorer, dtype: torch.dtype = torch.float32) -> Signals:
    """The made-up signals, with activations and curvature as this scorer asks for them."""
    signals, request = example_signals(dtype), scorer.activations
    asked = scorer.curvature
    curvature = None if asked is None else asked(example_problem(signals.weights))

    def change(need: str, name: str, tensor: Tensor) -> Tensor:
        if need == "activations" and request is not None:
            return request.example(tensor)
        if need == "curvature" and curvature is not None:
            return curvature[name]
        return tensor

    return signals.rebuilt(change)
