"""Models with sleeping nodes, and real inputs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sleepengine import SleepEngine


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)


class Convolutions(nn.Module):
    """Residual sum, BatchNorm with statistics, depthwise, and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.b1 = nn.BatchNorm2d(8)
        self.c2 = nn.Conv2d(8, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.c3 = nn.Conv2d(8, 6, 1)
        self.fc1 = nn.Linear(6 * 4, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b1(self.c1(x)).sigmoid()
        x = x + self.c2(x).relu()
        x = self.c3(self.depth(x).relu()).relu()
        return self.fc2(self.fc1(nn.functional.max_pool2d(x, 2).flatten(1)).sigmoid())


class Words(nn.Module):
    """An embedding, an LSTM, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 4, batch_first=True)
        self.fc1 = nn.Linear(8, 12)
        self.out = nn.Linear(12, 3)

    def forward(self, words: Tensor) -> Tensor:
        x = self.lstm(self.embed(words))[0]
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.out(self.fc1(x).relu().mean(1))


def _convolutions() -> tuple[SleepEngine, Tensor]:
    net = Convolutions()
    with torch.no_grad():
        net.b1.weight.uniform_(0.5, 1.5)
        net.b1.bias.normal_()
        net.b1.running_mean.normal_()
        net.b1.running_var.uniform_(0.5, 2.0)
    engine = SleepEngine(net, example_inputs=torch.zeros(2, 3, 4, 4))
    engine.sleep_nodes("c1", [0, 5, 6])
    engine.sleep_nodes("c3", [2])
    engine.sleep_nodes("fc1", slice(3, 9))
    engine.sleep_weights("fc2", (0, 0))
    return engine, torch.randn(7, 3, 4, 4)


def _words() -> tuple[SleepEngine, Tensor]:
    net = Words()
    x = torch.randint(11, (5, 9))
    engine = SleepEngine(net, example_inputs=x)
    engine.sleep_nodes("embed", [1, 4])
    engine.sleep_nodes("attention", [2])
    engine.sleep_nodes("fc1", slice(0, 8))
    return engine, x


@pytest.fixture(params=["convolutions", "words"])
def asleep(request: pytest.FixtureRequest) -> tuple[SleepEngine, Tensor]:
    makers: dict[str, Callable[[], tuple[SleepEngine, Tensor]]] = {
        "convolutions": _convolutions,
        "words": _words,
    }
    return makers[request.param]()


@pytest.fixture
def convolutions() -> tuple[SleepEngine, Tensor]:
    return _convolutions()


@pytest.fixture
def words() -> tuple[SleepEngine, Tensor]:
    return _words()
