"""Layers that a graph sees as one step, whatever they do inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def opaque(modules: Iterable[nn.Module]) -> Iterator[None]:
    """In here each module's outputs have their true values and depend on its inputs directly.

    What the graph shows then is input -> layer -> output, without the views, products and joins
    inside of an attention or a recurrent layer, which it cannot follow.
    """
    changed = list(modules)
    try:
        for module in changed:
            object.__setattr__(module, "forward", _one_step(module.forward))
        yield
    finally:
        for module in changed:
            object.__delattr__(module, "forward")


def _one_step(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            result = forward(*args, **kwargs)
        read = [one for one in _tensors((args, tuple(kwargs.values()))) if one.requires_grad]
        anchor = sum((one.sum() for one in read), torch.zeros((), requires_grad=True))
        if isinstance(result, Tensor):
            return result + anchor
        first, *others = result
        if not isinstance(first, Tensor):  # a packed sequence
            data = first.data + anchor
            first = first._replace(data=data)
            return (first, *(_joined(one, data) for one in others))
        first = first + anchor
        return (first, *(_joined(one, first) for one in others))

    return run


def _joined(result: Any, first: Tensor) -> Any:
    """Further results depend on the first, so that what reads them reads the layer."""
    if isinstance(result, Tensor):
        return result + first.sum() * 0
    if isinstance(result, tuple):
        return tuple(_joined(one, first) for one in result)
    return result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for one in values:
        if isinstance(one, Tensor) and one.is_floating_point():
            yield one
        elif isinstance(one, torch.nn.utils.rnn.PackedSequence):
            yield one.data
        elif isinstance(one, (tuple, list)):
            yield from _tensors(one)
