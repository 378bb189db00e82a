"""Automatic mode: the decision on invented times, and runs that do not depend on it."""

import pytest
import torch
from torch import nn

from sleepengine import SleepEngine
from sleepengine.calls.compact_calls import compaction_of
from sleepengine.compaction.payback import Payback
from sleepengine.nodes import NodeGroup, Slice


class Stopwatch:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def run(payback, watch, seconds, small, steps, share=0.5):
    wanted = small
    for _ in range(steps):
        watch.now += seconds
        payback.tick(small)
        wanted = payback.wants(share, small)
    return wanted


@pytest.mark.parametrize(
    ("full", "small", "cost", "stays"),
    [
        (1.0, 0.4, 0.5, True),  # a saving of 60 % of each step
        (1.0, 0.99, 0.5, False),  # one percent is noise
        (1.0, 1.2, 0.5, False),  # slower
        (1.0, 0.9, 40.0, False),  # 100 steps of 0.1 do not pay for 80
    ],
)
def test_it_stays_small_while_it_pays(full, small, cost, stays):
    watch = Stopwatch()
    payback = Payback(clock=watch)
    assert run(payback, watch, full, False, 6)
    payback.moved(cost)
    payback.tick(True)
    assert run(payback, watch, small, True, 6) is stays


def test_a_try_that_did_not_pay_is_not_repeated_at_once():
    watch = Stopwatch()
    payback = Payback(clock=watch)
    run(payback, watch, 1.0, False, 6)
    payback.moved(0.1)
    assert not run(payback, watch, 1.0, True, 6)
    assert not run(payback, watch, 1.0, False, 6)
    assert not run(payback, watch, 1.0, False, 6, share=0.55)
    assert run(payback, watch, 1.0, False, 6, share=0.7)


def test_masks_that_change_often_do_not_pay():
    watch = Stopwatch()
    payback = Payback(clock=watch)
    run(payback, watch, 1.0, False, 6)
    payback.moved(1.0)
    for _ in range(3):
        payback.changed()
        wanted = run(payback, watch, 1.0, False, 3)
    assert not wanted


def test_no_decision_before_the_first_measurements():
    payback = Payback(clock=Stopwatch())
    assert not payback.wants(0.9, False)


def wide(dropout=0.0):
    layers = [nn.Linear(64, 1024), nn.ReLU(), nn.Dropout(dropout), nn.Linear(1024, 64)]
    return nn.Sequential(*layers).double()


GROUP = NodeGroup("0", 1024, [Slice("0.weight")], [Slice("3.weight", 1)], ["0.bias"])


def trained(compact, steps=30, dropout=0.0):
    torch.manual_seed(0)
    model = wide(dropout)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    x = torch.randn(64, 64, dtype=torch.float64)
    inputs = x[:2] if compact else None
    engine = SleepEngine(model, optimizer, nodes=[GROUP])
    if compact:
        engine.compaction = compaction_of(model, engine.live, engine.enforcer, inputs, "auto")
        engine.compaction._payback.clock = Stopwatch()
    engine.attach()
    seen = []
    for step in range(steps):
        if step == 3:
            engine.sleep_nodes("0", [*range(900)])
        if step == 20:
            engine.wake_nodes("0", [*range(100)])
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        seen.append(model[0].weight.shape[0])
        if compact:
            engine.compaction._payback.clock.now += 0.1 if seen[-1] == 1024 else 0.02
    return model, engine, seen


def test_results_do_not_depend_on_it():
    plain, _, _ = trained(False)
    model, engine, seen = trained(True)
    assert min(seen) == 124
    assert seen[-1] == 224  # woke, and is small again
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, msg=name)
    engine.detach()
    assert model[0].weight.shape == (1024, 64)


def test_dropout_over_nodes_is_left_alone():
    plain, _, _ = trained(False, dropout=0.2)
    model, _, seen = trained(True, dropout=0.2)
    assert set(seen) == {1024}
    for name, value in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
