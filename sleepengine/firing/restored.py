"""What is put back after the model was run on batches of its own."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from sleepengine.actions.live import Live, Stateful


@contextmanager
def model_state(model: nn.Module) -> Iterator[None]:
    """Modes, buffers and `.grad` as they were; meanwhile no gradient is pending."""
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    values = [
        (b, b.detach().clone()) for _, held in buffers for b in held.values() if b is not None
    ]
    try:
        for parameter, _ in grads:
            parameter.grad = None
        yield
    finally:
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
        for module, held in buffers:
            module._buffers.update(held)
        for parameter, grad in grads:
            parameter.grad = grad
        for module, mode in modes:
            module.training = mode


def generators_of(data: Iterable[Any] | None) -> list[torch.Generator]:
    """The generators that a DataLoader and its samplers draw from, each once."""
    if not isinstance(data, DataLoader):
        return []
    holders: list[object] = [data, data.sampler, data.batch_sampler]
    holders.append(getattr(data.batch_sampler, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


@contextmanager
def other_random_states(data: Iterable[Any] | None, seed: int) -> Iterator[None]:
    """Random states of Python, numpy and the loader's own generators, for shuffles and crops."""
    python, numpy = random.getstate(), np.random.get_state()
    kept = [(generator, generator.get_state()) for generator in generators_of(data)]
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    try:
        yield
    finally:
        for generator, state in kept:
            generator.set_state(state)
        np.random.set_state(numpy)
        random.setstate(python)


def samplers_of(live: Live, data: Iterable[Any] | None) -> tuple[Stateful, ...]:
    """Samplers that count what they hand out: those of the engine and those of the data."""
    held = [] if data is None else [getattr(data, n, None) for n in ("sampler", "batch_sampler")]
    every = [*live.samplers, *(one for one in held if isinstance(one, Stateful))]
    return tuple({id(sampler): sampler for sampler in every}.values())


@contextmanager
def data_order(live: Live, data: Iterable[Any] | None) -> Iterator[None]:
    """A sampler that counts what it hands out goes back to where the training loop is."""
    samplers = samplers_of(live, data)
    before = [copy.deepcopy(sampler.state_dict()) for sampler in samplers]
    try:
        yield
    finally:
        for sampler, state in zip(samplers, before, strict=True):
            if sampler.state_dict() != state:
                sampler.load_state_dict(state)
