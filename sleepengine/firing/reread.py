"""The first batches of the engine's data, read anew at every pass; none of them is held."""

from __future__ import annotations

import copy
import random
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from saliency.problem import tensors_in
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError
from sleepengine.firing.restored import generators_of, samplers_of

T = TypeVar("T")
_ENTRIES = 4096
_REMEDY = (
    "The scorer reads them several times: give a list, or a loader that starts again at every "
    "iter() and draws from the random states of torch, numpy or Python, or from its generator=."
)


@final
class Reread:
    """Every pass gives the same `count` batches in the same order, one in memory at a time.

    The data draw from random states of their own: those of when this was made, at the start of
    every pass. What the model draws between two batches does not move them, nor they the model's.

    Raises:
        SetupError: While reading: there are fewer batches, or a later pass gives others.
    """

    def __init__(
        self, data: Iterable[Any], count: int, live: Live, devices: Sequence[torch.device] = ()
    ) -> None:
        self._data = data
        self._count = count
        self._samplers = samplers_of(live, data)
        self._orders = [copy.deepcopy(sampler.state_dict()) for sampler in self._samplers]
        self._generators = generators_of(data)
        self._devices = tuple(devices)
        self._start = _States.now(self._generators, self._devices)
        self._digests = array("L")  # a number per batch stays
        self._begun = False

    def __iter__(self) -> Iterator[Any]:
        if self._begun and isinstance(self._data, Iterator):
            raise SetupError(
                f"data= is a {type(self._data).__name__}, which gives its batches once. {_REMEDY}"
            )
        self._begun = True
        for sampler, order in zip(self._samplers, self._orders, strict=True):
            if sampler.state_dict() != order:
                sampler.load_state_dict(copy.deepcopy(order))
        stream = self._start
        batches, stream = self._with(stream, lambda: iter(self._data))
        for place in range(self._count):
            found, stream = self._with(stream, lambda: next(batches, _END))
            if found is _END:
                raise SetupError(self._too_few(place))
            self._compare(place, found)
            yield found
            del found  # not in memory while the next one is made

    def _with(self, stream: _States, work: Callable[[], T]) -> tuple[T, _States]:
        """What `work` gives under these random states, and the states after it."""
        outer = _States.now(self._generators, self._devices)
        try:
            stream.put()
            found = work()
            return found, _States.now(self._generators, self._devices)
        finally:
            outer.put()

    def _compare(self, place: int, batch: Any) -> None:
        found = digest(batch)
        if place == len(self._digests):
            self._digests.append(found)
        elif self._digests[place] != found:
            raise SetupError(
                f"data= gave another batch {place + 1} when it was read again. {_REMEDY}"
            )

    def _too_few(self, seen: int) -> str:
        if seen < len(self._digests):
            return (
                f"data= gave {seen} batches when it was read again, and at least "
                f"{len(self._digests)} before. {_REMEDY}"
            )
        return f"data= gave {seen} batches where {self._count} were asked for"


_END = object()


@final
@dataclass(frozen=True, eq=False)
class _States:
    """Random states of Python, numpy, torch and some generators."""

    python: Any
    numpy: Any
    default: Tensor
    cuda: tuple[tuple[torch.device, Tensor], ...]
    generators: tuple[tuple[torch.Generator, Tensor], ...]

    @staticmethod
    def now(generators: Iterable[torch.Generator], devices: Iterable[torch.device]) -> _States:
        """As they are."""
        return _States(
            random.getstate(),
            np.random.get_state(),
            torch.get_rng_state(),
            tuple((device, torch.cuda.get_rng_state(device)) for device in devices),
            tuple((generator, generator.get_state()) for generator in generators),
        )

    def put(self) -> None:
        """Make them the states that draws are made from."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.default)
        for device, state in self.cuda:
            torch.cuda.set_rng_state(state, device)
        for generator, state in self.generators:
            generator.set_state(state)


def digest(batch: Any) -> int:
    """Checksum of the tensors' shapes, dtypes and some thousand entries of each.

    >>> a, b = torch.zeros(2, 3), torch.zeros(3, 2)
    >>> digest((a, [b])) == digest((a.clone(), [b.clone()])), digest(a) == digest(b)
    (True, False)
    """
    found = 0
    for tensor in tensors_in(batch):
        found = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        if tensor.layout == torch.strided:
            flat = tensor.detach().reshape(-1)
            # An odd step does not stay in the same columns of the usual, even shapes.
            some = flat[:: flat.numel() // _ENTRIES | 1].contiguous().cpu()
            found = zlib.crc32(some.view(torch.uint8).numpy().tobytes(), found)
    return found
