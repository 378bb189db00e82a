"""An engine lives as long as what it is attached to, and nothing of it is left after that."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from ignite.engine import Engine
from torch import nn, optim
from torch.nn.modules import module as modules

from saliency import Wanda
from schedules import every
from sleepengine import Rule, Sleep, SleepEngine, Who, by


class Loop:
    """A loop whose next forward pass is watched, with an engine that nobody else knows."""

    def __init__(self, ignite: bool) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        self.optimizer = optim.AdamW(self.model.parameters(), 0.01)
        rule = Rule(every("3it"), Who(Wanda(), amount=by(0.25)), Sleep())
        engine = SleepEngine(self.model, self.optimizer, [rule])
        self.engine = weakref.ref(engine)
        self.trainer = Engine(lambda _, batch: self.step()) if ignite else None
        engine.attach(self.trainer)
        self.run(5)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.ones(3, 4)).sum().backward()
        self.optimizer.step()

    def run(self, steps: int) -> None:
        if self.trainer is not None:
            self.trainer.run(range(steps), max_epochs=1)
            return
        for _ in range(steps):
            self.step()


@pytest.fixture
def others():
    """Hooks of engines of other tests."""
    gc.collect()
    return set(modules._global_forward_hooks)


@pytest.mark.parametrize("ignite", [False, True], ids=["plain", "ignite"])
def test_no_hook_is_left_of_a_loop_that_is_gone(ignite, others):
    loop = Loop(ignite)
    seen = loop.engine
    assert len(set(modules._global_forward_hooks) - others) == 1
    del loop
    gc.collect()
    assert seen() is None
    assert set(modules._global_forward_hooks) <= others
    assert set(modules._global_forward_hooks_with_kwargs) <= others


def test_an_engine_that_nobody_holds_works_on_with_its_optimizer(others):
    loop = Loop(ignite=False)
    gc.collect()
    loop.run(1)
    assert sum(int((p == 0).sum()) for p in loop.model.parameters()) == 6 + 5
    loop.engine().detach()
    assert set(modules._global_forward_hooks) <= others
    gc.collect()
    assert loop.engine() is None
