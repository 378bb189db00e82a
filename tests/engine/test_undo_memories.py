"""Undo takes back what waits and what rules remember, too, bit for bit."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import optim
from torch.nn.functional import mse_loss

from saliency import Magnitude, Movement
from schedules import every, once
from sleepengine import (
    Kept,
    Reset,
    Rewind,
    Rule,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    by,
    count,
    older_than,
    rate,
    to,
)

from .saved_states import state_of, without

UNDONE = {
    "sleep": Rule(once("0it"), Who(Magnitude(), amount=by(0.5)), Sleep()),
    "wake": Rule(once("0it"), Who(None, amount=to(0.0)), Wake("zero", "zero")),
    "reset by rate": Rule(
        once("0it"), Who(Magnitude(), amount=rate(0.07), where=older_than("1it")), Reset("zero")
    ),
    "rewind": Rule(once("0it"), None, Rewind("1it")),
}


@pytest.mark.parametrize("name", list(UNDONE))
def test_undo_is_bit_for_bit(name, run, difference, batch):
    """Gradients that wait, rates' remainders, ages and what scorers have seen."""

    def begun():
        who = Who(Movement(), amount=rate(0.03), where=older_than("2it"))
        old = Rule(every("3it"), who, Reset("zero"), name="old")
        model, optimizer, engine, loop = run([old], keep=["1it"])
        loop(0, 2)
        engine.sleep_weights("0", (0, slice(None)))
        loop(2, 4)
        engine.wake_weights("0", (0, slice(0, 2)))
        optimizer.zero_grad()
        mse_loss(model(batch(4)[0]), batch(4)[1]).backward()
        return model, optimizer, engine, loop

    def everything(model, optimizer, engine, loop):
        grads = [p.grad.clone() for p in model.parameters()]
        parts = without(state_of(model, optimizer, engine), "journal", "happened", "clock")
        return [*parts, grads]

    one, twin = begun(), begun()
    before = everything(*one)
    assert 0 < before[2]["carries"]["old"] < 1
    one[2].fire(UNDONE[name])
    assert difference(everything(*one), before) != ""
    assert one[2].undo() is True
    now = everything(*one)
    assert difference(now, before) == ""
    for _, optimizer, engine, loop in (one, twin):
        optimizer.step()
        loop(5, 8)
        engine.check()
    assert difference(everything(*one), everything(*twin)) == ""


@pytest.mark.parametrize("made", ["zeroed", "another", "added"])
def test_a_gradient_that_was_made_since_stays(made, run, batch):
    model, optimizer, engine, loop = run([])
    loop(0, 1)
    engine.sleep_weights("0", (0, slice(None)))
    if made == "zeroed":
        optimizer.zero_grad(set_to_none=False)
    else:
        if made == "another":
            optimizer.zero_grad()
        mse_loss(model(batch(1)[0]), batch(1)[1]).backward()
    now = model[0].weight.grad.clone()
    assert engine.undo() is True
    assert torch.equal(model[0].weight.grad, now)


def test_what_a_rule_did_before_a_step_is_not_undone_bit_for_bit_after_it(run):
    rule = Rule(once("1it"), Who(Magnitude(), amount=by(0.5)), Sleep(), at="before_step")
    model, _, engine, loop = run([rule])
    loop(0, 2)
    rest = model[0].weight.detach().clone()
    asleep = engine.is_sleeping("0")
    assert engine.undo() is False
    assert engine.store.asleep_count() == 0
    assert torch.equal(model[0].weight[~asleep], rest[~asleep])


def test_ages_of_nodes_and_counts_go_back(row, push):
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    old = Rule(once("99it"), Who(None, amount=count(1), where=older_than("2it")), Reset("zero"))
    engine = SleepEngine(layer, optimizer, [old], keep=["init"]).attach()
    for _ in range(3):
        push(layer, optimizer, *[0.0] * 4)
    (ages,) = old.who.filters
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.fire(Rule(once("0it"), Who(Magnitude(), amount=count(2)), Reset(Kept("init"))))
        assert int(ages.allows(engine.store, "weight", engine.time.clock()).sum()) == 2
        engine.undo()
    assert ages.allows(engine.store, "weight", engine.time.clock()) is None
