"""Small networks, data and bit patterns that the engine's tests share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _words(tensor: Tensor) -> Tensor:
    """The bit pattern, so that -0.0 and NaN payloads count."""
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    return whole.view(_WORDS[tensor.element_size()])


@pytest.fixture
def words() -> Callable[[Tensor], Tensor]:
    return _words


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two nested states hold the same values, tensors bit for bit."""

    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))
        if isinstance(a, dict) and isinstance(b, dict):
            return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple):
            return len(a) == len(b) and all(map(equal, a, b))
        return bool(a == b)

    def _bits(tensor: Tensor) -> Tensor:
        return _words(tensor) if tensor.is_floating_point() else tensor

    return equal


@pytest.fixture
def through_file() -> Callable[[Any], Any]:
    """What comes back from torch.save and torch.load(weights_only=True)."""

    def save_and_load(state: Any) -> Any:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    return save_and_load


@pytest.fixture
def net() -> Callable[..., nn.Sequential]:
    """A network of two linear layers, "0" and "2", drawn from a seed; with BatchNorm "1" if asked."""

    def build(seed: int = 0, *, norm: bool = False, bias: bool = True) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            middle = nn.BatchNorm1d(6) if norm else nn.Tanh()
            return nn.Sequential(nn.Linear(5, 6, bias=bias), middle, nn.Linear(6, 3, bias=bias))

    return build


@pytest.fixture
def batch() -> Callable[..., tuple[Tensor, Tensor]]:
    """Batch number `i`: inputs [size, 5] and targets [size, 3]."""

    def draw(i: int = 0, size: int = 8) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(1000 + i)
        return (
            torch.randn(size, 5, generator=generator),
            torch.randn(size, 3, generator=generator),
        )

    return draw


@pytest.fixture
def train(batch: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., None]:
    """A plain loop over batches `first` to `first + steps`, one optimizer step each."""

    def loop(
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int,
        first: int = 0,
        clip: float | None = None,
    ) -> None:
        for i in range(first, first + steps):
            x, y = batch(i)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()

    return loop


@pytest.fixture
def row() -> Callable[..., nn.Linear]:
    """One weight matrix of one row with these values, without bias."""

    def build(*values: float) -> nn.Linear:
        layer = nn.Linear(len(values), 1, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([values]))
        return layer

    return build


@pytest.fixture
def push() -> Callable[..., None]:
    """One optimizer step of a `row` whose gradient is exactly `grad`."""

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, *grad: float) -> None:
        optimizer.zero_grad()
        layer(torch.tensor([grad])).sum().backward()
        optimizer.step()

    return step


@pytest.fixture(autouse=True)
def _global_random_state() -> Iterator[None]:
    """Tests begin alike, whatever ran before them."""
    torch.manual_seed(0)
    yield
