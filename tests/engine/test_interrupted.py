"""Errors, interrupts and NaN: a transaction is done or taken back, and a loop may go on."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events, create_supervised_trainer
from torch import nn
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude
from schedules import once, when
from sleepengine import (
    Rule,
    SetupError,
    Sleep,
    Wake,
    Who,
    by,
    older_than,
    to,
)

from .saved_states import RIGL, state_of


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("event", ["SLEPT", "WOKE"])
def test_a_handler_that_raises_finds_all_done_and_the_loop_goes_on(event, error, run, difference):
    """The run is the one in which no handler raised."""
    model, optimizer, engine, loop = run(RIGL)
    told = []

    def handler(news):
        told.append(news.step)
        raise error("stop")

    engine.on(event, handler)
    step = 0
    while step < 8:
        try:
            loop(step, 8)
            step = 8
        except error:
            step = engine.time.iteration
    twin = run(RIGL)
    twin[3](0, 8)
    assert told == ([1, 2, 4, 6, 8] if event == "SLEPT" else [2, 4, 6, 8])
    assert difference(state_of(model, optimizer, engine), state_of(*twin[:3])) == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_handler_under_ignite(error, run, batch, difference):
    def trained(raises):
        model, optimizer, engine, _ = run(RIGL, attach=False)
        trainer = create_supervised_trainer(model, optimizer, mse_loss)
        engine.attach(trainer)

        def stop(news):
            raise error("stop")

        if raises:
            engine.on("SLEPT", stop)

        @trainer.on(Events.EXCEPTION_RAISED)
        def swallow(_, e):
            assert isinstance(e, error)

        batches = [batch(i) for i in range(2)]
        trainer.run(batches, max_epochs=1)
        assert trainer.state.sleep_asleep == engine.store.asleep_count() == 24
        return model, optimizer, engine

    whole, broken = trained(False), trained(True)
    assert broken[2].time.iteration == 1
    assert [r.step for r in broken[2].journal] == [1]
    assert broken[2].store.asleep_count() == whole[2].store.asleep_count()
    broken[2].check()


@pytest.mark.parametrize("undo", [True, False])
@pytest.mark.parametrize("due", ["1it", "2it"])
def test_an_interrupt_inside_a_transaction_takes_it_back_and_the_rule_waits(
    undo, due, run, monkeypatch
):
    rule = Rule(once(due), Who(Magnitude(), amount=by(0.5), where=older_than("0it")), Sleep())
    _, _, engine, loop = run([rule], undo=undo)
    loop(0, 1 if due == "2it" else 0)
    engine.sleep_weights("2", (0, slice(None)))
    journal = engine.journal
    append = type(journal).append
    calls = []

    def interrupted(self, *args):
        calls.append(engine.store.asleep_count())
        if len(calls) == 1:
            raise KeyboardInterrupt
        append(self, *args)

    monkeypatch.setattr(type(journal), "append", interrupted)
    step = engine.time.iteration
    masks = engine.store.digest()
    with pytest.raises(KeyboardInterrupt):
        loop(step, step + 1)
    assert calls == [6 + 21]
    assert engine.store.digest() == masks
    assert engine.live.parked["0.weight"].count() == 0
    assert engine.time.clock(rule.name).last_fired is None
    engine.check()
    loop(step + 1, step + 2)  # the rule acts now
    assert engine.store.asleep_count() == 27
    assert engine.journal.last().step == step + 2


@pytest.mark.parametrize("undo", [True, False])
def test_a_draw_that_fails_leaves_everything(undo, run, difference):
    calls = []

    def draw(tensor):
        calls.append(tensor.shape)
        if len(calls) == 2:
            raise KeyboardInterrupt
        nn.init.ones_(tensor)

    model, optimizer, engine, loop = run([], undo=undo, initialisers={"*": draw})
    loop(0, 2)
    engine.sleep_weights("0", (0, slice(None)))
    engine.sleep_weights("2", (0, slice(None)))
    loop(2, 3)
    before, grads = state_of(model, optimizer, engine), [p.grad.clone() for p in model.parameters()]
    with pytest.raises(KeyboardInterrupt):
        engine.fire(Rule(once("0it"), Who(None, amount=to(0.0)), Wake("fresh")))
    assert len(calls) == 2
    assert difference(state_of(model, optimizer, engine), before) == ""
    assert difference([p.grad for p in model.parameters()], grads) == ""
    loop(3, 5)
    engine.check()


@pytest.mark.parametrize("at", ["after_step", "before_step"])
def test_a_loss_that_is_nan_is_refused_before_anything_changes(at, run, batch):
    rule = Rule(once("2it"), Who(Gradient(), amount=by(0.5)), Sleep(), at=at)
    model, optimizer, engine, loop = run([rule])
    loop(0, 1 if at == "after_step" else 2)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.zero_grad()
    (mse_loss(model(batch(1)[0]), batch(1)[1]) * float("nan")).backward()
    with pytest.raises(SetupError, match=r"0\.weight.*NaN|NaN.*0\.weight"):
        optimizer.step()
    assert engine.store.asleep_count() == 0
    assert len(engine.journal) == 0
    with torch.no_grad():  # back to the last good weights
        for parameter, value in zip(model.parameters(), before, strict=True):
            parameter.copy_(value)
    optimizer.state.clear()
    loop(2, 4)
    assert engine.store.asleep_count() == 24


def test_sleepers_stay_zero_while_everything_else_is_nan(run, batch, words):
    model, optimizer, engine, loop = run([])
    engine.sleep_weights("0", (0, slice(None)))
    loop(0, 1)
    for i in range(3):
        optimizer.zero_grad()
        (mse_loss(model(batch(i)[0]), batch(i)[1]) * float("nan")).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert bool(model[0].weight[1:].isnan().all())
    assert int(words(model[0].weight)[0].count_nonzero()) == 0
    engine.check()


def test_a_step_that_is_interrupted_holds_no_later_one(run, batch, monkeypatch):
    rule = Rule(once("1it"), Who(Magnitude(), amount=by(0.5)), Sleep(), skip_step=True)
    model, optimizer, engine, loop = run([rule])
    loop(0, 1)

    def interrupted():
        raise KeyboardInterrupt

    optimizer.zero_grad()
    mse_loss(model(batch(1)[0]), batch(1)[1]).backward()
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(interrupted)
    before = model[0].weight.detach().clone()
    assert engine.store.asleep_count() == 24
    loop(1, 2)
    assert not torch.equal(model[0].weight, before)
    assert all(p.grad is not None for p in model.parameters())


def test_a_predicate_that_raises_lets_the_next_step_be_planned(run):
    def moody(clock):
        if clock.iteration == 2:
            raise RuntimeError("not now")
        return clock.iteration == 4

    _, _, engine, loop = run([Rule(when(moody), Who(Gradient(), amount=by(0.5)), Sleep())])
    with pytest.raises(RuntimeError, match="not now"):
        loop(0, 2)
    loop(2, 6)
    assert [(r.step, r.changed) for r in engine.journal] == [(5, 24)]
