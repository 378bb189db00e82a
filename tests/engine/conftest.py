"""Small networks, data and bit patterns that the engine's tests share."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import Tensor, nn, optim
from torch.nn.functional import mse_loss

from sleepengine import SleepEngine

from .rewinding import Run
from .rigl_rules import rigl

_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _words(tensor: Tensor) -> Tensor:
    """The bit pattern, so that -0.0 and NaN payloads count."""
    whole = tensor.detach().clone(memory_format=torch.contiguous_format)
    return whole.view(_WORDS[tensor.element_size()])


@pytest.fixture
def words() -> Callable[[Tensor], Tensor]:
    return _words


def _difference(a: Any, b: Any, path: str = "") -> str:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{path}: {a.dtype} {tuple(a.shape)}, {b.dtype} {tuple(b.shape)}"
        bits = (_words(a), _words(b)) if a.is_floating_point() else (a, b)
        return "" if torch.equal(*bits) else f"{path}: {a}, {b}"
    if isinstance(a, dict) and isinstance(b, dict):
        if list(a) != list(b):
            return f"{path}: keys {list(a)}, {list(b)}"
        found = (_difference(a[key], b[key], f"{path}[{key!r}]") for key in a)
        return next((text for text in found if text), "")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{path}: {len(a)} and {len(b)} entries"
        found = (
            _difference(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=True))
        )
        return next((text for text in found if text), "")
    return "" if a == b else f"{path}: {a!r}, {b!r}"


@pytest.fixture
def difference() -> Callable[[Any, Any], str]:
    """Where two nested states first differ, tensors bit for bit; "" where they are the same."""
    return _difference


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    """Whether two nested states hold the same, tensors bit for bit."""
    return lambda a, b: not _difference(a, b)


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
    """Two linear layers, "0" and "2", drawn from a seed; "1" is Tanh, or BatchNorm if asked."""

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
def _global_random_state() -> None:
    """Tests begin alike, whatever ran before them."""
    torch.manual_seed(0)


@pytest.fixture
def result(same):
    """Weights, masks and optimizer state of a run."""

    def of(model, engine, *optimizers):
        masks = {n: engine.store.asleep_bits(n) for n in engine.store.entries()}
        state = [o.state_dict()["state"] for o in optimizers]
        return [dict(model.state_dict()), masks, state, [r.changed for r in engine.journal]]

    return of


@pytest.fixture
def plain(net, batch, result):
    """The plainest loop: 12 steps, RigL every second."""

    def run(**how):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
        engine = SleepEngine(model, optimizer, rigl("2it", **how)).attach()
        for i in range(12):
            x, y = batch(i)
            optimizer.zero_grad()
            mse_loss(model(x), y).backward()
            optimizer.step()
        assert [r.changed for r in engine.journal][:3] == [24, 8, 8]  # 30 % of 15 and of 9
        return result(model, engine, optimizer)

    return run


@pytest.fixture
def varied(net, result):
    """The same model, optimizer and rules under a loop that the test gives."""

    def run(loop, interval="2it", compiled=None, **how):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
        engine = SleepEngine(model, optimizer, rigl(interval, **how))
        loop(model, optimizer, engine)
        return result(model, engine, optimizer)

    return run


@pytest.fixture
def start(net, words):
    return lambda *rules, **options: Run(net, words, rules, **options)


@pytest.fixture
def run(net, batch):
    """A network, its engine, and a loop that may be entered again at any step."""

    def build(rules, undo=True, attach=True, **options):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        engine = SleepEngine(model, optimizer, rules, undo=undo, check_every=1, **options)
        if attach:
            engine.attach()

        def loop(first, last):
            for i in range(first, last):
                optimizer.zero_grad()
                mse_loss(model(batch(i)[0]), batch(i)[1]).backward()
                optimizer.step()

        return model, optimizer, engine, loop

    return build


@pytest.fixture
def rig(net):
    """A trainer with an engine that has these rules."""

    def build(*rules, attach=True, **options):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        engine = SleepEngine(model, optimizer, rules, **options)
        trainer = create_supervised_trainer(model, optimizer, mse_loss)
        if attach:
            engine.attach(trainer)
        return trainer, engine

    return build


@pytest.fixture
def data(batch):
    return [batch(i) for i in range(4)]
