"""What is written over frozen weights on purpose is what they are held at from then on."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from schedules import once
from sleepengine import Freeze, LeakError, Reset, Rewind, Rule, SleepEngine, Who, by

FROZEN = torch.tensor([[True, True, False, False]])


def train(layer, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        layer(torch.ones(1, 4)).sum().backward()
        optimizer.step()


@pytest.fixture
def layer():
    one = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        one.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    return one


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("accepted", [False, True])
def test_a_write_stays_if_it_is_accepted(accepted, lean, layer, rig):
    optimizer = optim.SGD(layer.parameters(), 0.5, momentum=0.9)
    engine = rig({"weight": layer.weight}, [optimizer], lean=lean)
    engine.freeze("weight", FROZEN)
    with torch.no_grad():
        layer.weight.fill_(7.0)
    if accepted:
        engine.enforcer.accept(["weight"])
    assert bool(engine.enforcer.leaks()) is not accepted
    train(layer, optimizer)
    assert layer.weight[0, :2].tolist() == ([7.0, 7.0] if accepted else [1.0, 2.0])
    assert engine.enforcer.leaks() == []


@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("act", ["reset", "rewind"])
def test_frozen_weights_hold_what_an_action_gave_them(act, undo, memory, layer):
    optimizer = optim.SGD(layer.parameters(), 0.5, momentum=0.9)
    engine = SleepEngine(layer, optimizer, keep=["init"], memory=memory, check_every=1).attach()
    train(layer, optimizer)
    engine.fire(Rule(once("0it"), Who(None, amount=by(0.5)), Freeze()))
    kept = layer.weight[0, :2].tolist()
    assert kept == pytest.approx([-0.45, 0.55])
    train(layer, optimizer)
    acts = {
        "reset": Rule(
            once("0it"), Who(None, amount=by(1.0)), Reset("original", include_frozen=True)
        ),
        "rewind": Rule(once("0it"), None, Rewind("init", frozen=True)),
    }
    engine.fire(acts[act])
    if undo:
        engine.undo()
    train(layer, optimizer)
    engine.check()
    assert layer.weight[0, :2].tolist() == (kept if undo else [1.0, 2.0])
    assert layer.weight[0, 2].item() != 3.0


def test_a_write_past_the_engine_is_seen(layer):
    engine = SleepEngine(layer, optim.SGD(layer.parameters(), 0.5)).attach()
    engine.freeze_weights("weight", (0, slice(0, 2)))
    layer.weight.data[0, 0] = 9.0
    with pytest.raises(LeakError, match="1 frozen weights moved"):
        engine.check()
