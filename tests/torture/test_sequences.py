"""Random sequences of everything an engine can be asked, against runs that are masked by hand.

No tolerance: weights bit for bit, sleepers +0.0, frozen weights as they were, parked values back to
the bit, optimizer state equal wherever weights train. The optimizers are those of torch.optim.
"""

from __future__ import annotations

import pytest
import torch
from torch import optim
from torch.optim import Optimizer

from .catalogue import Configuration, configurations, kinds
from .networks import Network
from .operations import OPERATIONS, SHARES
from .pair import Setting
from .scale import scaled
from .sequences import Figures, Move, failure, run, shortest

SEQUENCES = scaled(5, 1000)  # for each optimizer
PARTS = scaled(1, 5)  # pieces of work that may run side by side


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_random_sequences(kind, part, figures):
    done = Figures()
    for number in range(part, SEQUENCES, PARTS):
        run(kind, number, done)
    figures(
        sequences=done.sequences,
        operations=done.operations.total(),
        compacted=done.shrunk,
        refused=done.refused,
    )


def test_every_operation_is_drawn():
    assert SHARES.keys() == OPERATIONS.keys()


def test_the_optimizers_are_found():
    """The oldest and the newest are among them, and each has a configuration that works here."""
    assert {optim.SGD, optim.Adam, optim.LBFGS, optim.SparseAdam} <= set(kinds())
    for kind in kinds():
        some = configurations(kind)
        assert some
        assert all(one.takes_dense or one.takes_sparse for one in some)


class Signs(Optimizer):
    """An optimizer that nobody has seen: a state of its own, and decay in every step."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    state = self.state[param]
                    state.setdefault("velocity", torch.zeros_like(param)).mul_(0.5).add_(param.grad)
                    param.mul_(0.99).add_(state["velocity"].sign(), alpha=-float(group["lr"]))
        return loss


def test_an_optimizer_that_is_new_is_tested_without_a_change():
    done = Figures()
    for number in range(scaled(5, 100)):
        run(Signs, number, done)
    assert done.operations.total() > 20


class Leaky(optim.SGD):
    """Writes over a weight while it steps: what the tests are there to notice."""

    @torch.no_grad()
    def step(self, closure=None):
        loss = super().step(closure)
        if len(self.param_groups[0]["params"]) > 1:
            self.param_groups[0]["params"][0].view(-1)[0] += 1e-7
        return loss


def test_a_wrong_step_is_told_with_the_shortest_sequence(monkeypatch):
    """The two runs differ: one of them steps by an optimizer that is off by a hair."""
    settings = Setting(Configuration(optim.SGD), Network(False, True, torch.float32))
    built = iter(range(10**6))
    build = Configuration.build
    monkeypatch.setattr(
        Configuration,
        "build",
        lambda self, params: build(Configuration((Leaky, optim.SGD)[next(built) % 2]), params),
    )
    moves = [Move("zero_grad", 0), Move("freeze", 3), Move("step", 1), Move("thaw", 5)]
    assert "fc1.weight: weights" in str(failure(settings, moves))
    assert shortest(settings, moves) == [Move("step", 1)]
