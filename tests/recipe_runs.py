"""The small network and the plain loop in which recipes are tried."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.rules.rule import Rule

SHAPES = {"fc1.weight": (12, 16), "fc2.weight": (8, 12), "fc3.weight": (4, 8)}


TOTAL = sum(math.prod(shape) for shape in SHAPES.values())  # 192 + 96 + 32 = 320


EPOCH = 10


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(16, 12),
            act1=nn.ReLU(),
            fc2=nn.Linear(12, 8),
            act2=nn.ReLU(),
            fc3=nn.Linear(8, 4),
        )
    )


class Run:
    """A plain loop on random data with what was seen after every step."""

    def __init__(self, rules: Sequence[Rule], total: int, model: nn.Module | None = None) -> None:
        self.model = model or network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.engine = SleepEngine(self.model, self.optimizer, rules, check_every=1)
        self.asleep: list[dict[str, int]] = []
        self.total = total
        self.data = torch.Generator().manual_seed(1)

    def __enter__(self) -> Run:
        self.engine.attach(steps_per_epoch=EPOCH, total_steps=self.total)
        self.note()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.detach()

    def note(self) -> None:
        store = self.engine.store
        self.asleep.append({name: store.asleep_count(name) for name in SHAPES})

    def steps(self, count: int) -> Run:
        for _ in range(count):
            x = torch.randn(32, 16, generator=self.data)
            y = torch.randint(4, (32,), generator=self.data)
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()
            self.note()
        return self

    @property
    def sums(self) -> list[int]:
        """Sleepers of all tensors after 0, 1, 2, ... steps."""
        return [sum(counts.values()) for counts in self.asleep]

    def masks(self) -> dict[str, Tensor]:
        return {name: self.engine.is_sleeping(name) for name in SHAPES}


def nearest(share: float, count: int) -> int:
    return math.floor(share * count + 0.5)


def trained(rules: Sequence[Rule], total: int) -> Run:
    with Run(rules, total) as run:
        run.steps(total)
    return run
