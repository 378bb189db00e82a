"""Undo: bit for bit until the next step, masks only from then on."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import optim

from saliency import Gradient, Magnitude
from schedules import every, once
from sleepengine import Freeze, Reset, Rewind, Rule, Sleep, SleepEngine, Wake, Who, by, count, to

ACTS = {
    "sleep": Rule(once("0it"), Who(Magnitude(), amount=to(0.7)), Sleep()),
    "sleep frozen": Rule(once("0it"), Who(Magnitude(), amount=to(0.8)), Sleep(include_frozen=True)),
    "wake": Rule(once("0it"), Who(None, amount=to(0.0)), Wake("zero", "zero")),
    "wake fresh": Rule(once("0it"), Who(None, amount=to(0.0)), Wake("fresh", "parked")),
    "freeze": Rule(once("0it"), Who(Magnitude(), amount=by(0.5)), Freeze()),
    "reset": Rule(once("0it"), Who(Magnitude(), amount=by(0.5)), Reset()),
    "rewind": Rule(once("0it"), None, Rewind(to="2it", frozen=True, parked=True)),
    "fresh": Rule(once("0it"), None, Rewind(to="fresh")),
}


@pytest.fixture
def trained(net, train):
    """An engine with sleepers and frozen weights, five steps into a run with Adam."""

    def build(undo=True):
        model = net(norm=True)
        optimizer = optim.Adam(model.parameters(), 0.05)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        engine = SleepEngine(
            model,
            optimizer,
            scheduler=schedule,
            keep=("init", "2it"),
            undo=undo,
            park_state="all",
        ).attach()
        train(model, optimizer, 2)
        engine.sleep_weights("0", (slice(0, 2), slice(None)))
        engine.freeze_weights("0", (2, slice(None)))
        train(model, optimizer, 3, first=2)
        schedule.step()
        return model, optimizer, schedule, engine

    return build


def everything(model, optimizer, schedule, engine):
    """All but the journal, which remembers the undo too."""
    state = engine.state_dict()
    kept = {name: state[name] for name in ("masks", "parked", "frozen", "optimizer_state", "event")}
    parts = [model.state_dict(), optimizer.state_dict(), schedule.state_dict(), kept]
    return copy.deepcopy(parts)


@pytest.mark.parametrize("act", list(ACTS))
def test_bit_for_bit_before_the_next_step(act, trained, difference, train):
    parts, twin = trained(), trained()
    before = everything(*parts)
    engine = parts[-1]
    engine.fire(ACTS[act])
    assert difference(everything(*parts), before) != ""
    assert engine.undo() is True
    assert difference(everything(*parts), before) == ""
    # And it goes on as if nothing had been.
    for run in (parts, twin):
        train(run[0], run[1], 3, first=5)
        run[3].check()
    assert difference(parts[0].state_dict(), twin[0].state_dict()) == ""
    assert difference(parts[1].state_dict(), twin[1].state_dict()) == ""


def test_a_fresh_draw_is_the_same_when_it_is_repeated_after_undo(trained, words):
    model, _, _, engine = trained()
    engine.fire(ACTS["wake fresh"])
    first = model[0].weight.detach().clone()
    engine.undo()
    engine.fire(ACTS["wake fresh"])
    assert torch.equal(words(model[0].weight), words(first))


@pytest.mark.parametrize("undo", [True, False])
def test_after_a_step_the_masks_alone_go_back(undo, trained, train, words):
    model, optimizer, _, engine = trained(undo)
    masks = engine.store.fork()
    value = model[2].weight.detach().clone()
    engine.sleep_weights("2", (0, slice(None)))
    if undo:
        train(model, optimizer, 1, first=5)
    step = model[2].weight.detach().clone()
    assert engine.undo() is False
    assert engine.store.digest() == masks.digest()
    assert torch.equal(words(model[2].weight[0]), words(value[0]))  # the parked values
    assert torch.equal(words(model[2].weight[1:]), words(step[1:]))
    assert engine.journal.last().note.startswith("masks only")
    engine.check()


def test_a_step_of_a_second_optimizer_counts_too(net):
    model = net()
    first = optim.SGD(model[0].parameters(), 0.1)
    second = optim.SGD(model[2].parameters(), 0.1)
    engine = SleepEngine(model, [first, second]).attach()
    engine.sleep_weights("2", (0, 0))
    second.step()
    assert engine.undo() is False


def test_a_handler_may_take_back_what_a_rule_did(row, push):
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    rule = Rule(every("2it"), Who(Magnitude(), amount=count(1)), Sleep())
    engine = SleepEngine(layer, optimizer, [rule]).attach()
    engine.on("SLEPT", lambda news: engine.undo() if news.step == 4 else None)
    for _ in range(6):
        push(layer, optimizer, 0.0, 0.0, 0.0, 0.0)
    assert [(r.step, r.action) for r in engine.journal] == [
        (2, "Sleep"),
        (4, "Sleep"),
        (4, "Undo"),
        (6, "Sleep"),
    ]
    assert layer.weight.tolist() == [[0.0, 0.0, 3.0, 4.0]]
    assert engine.journal.masks_at(4).asleep_count() == 1


def test_undo_of_an_undo_gives_the_masks_again(row):
    layer = row(1.0, 2.0)
    engine = SleepEngine(layer)
    engine.sleep_weights("weight", (0, 0))
    assert engine.undo() is True
    assert layer.weight.tolist() == [[1.0, 2.0]]
    assert engine.undo() is False
    assert layer.weight.tolist() == [[0.0, 2.0]]


def test_rules_that_fired_together_are_taken_back_together(row, push):
    layer = row(4.0, 1.0, 3.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    rules = [
        Rule(every("2it"), Who(Magnitude(), amount=by(0.5)), Sleep()),
        Rule(every("2it"), Who(Gradient(), amount=to(0.25)), Wake("zero")),
    ]
    engine = SleepEngine(layer, optimizer, rules).attach()
    for _ in range(2):
        push(layer, optimizer, 1.0, 2.0, 3.0, 4.0)
    assert layer.weight.tolist() == [[4.0, 0.0, 3.0, 2.0]]
    assert engine.undo() is True
    assert layer.weight.tolist() == [[4.0, 1.0, 3.0, 2.0]]


def test_loading_forgets_what_could_be_undone(row):
    layer = row(1.0, 2.0)
    engine = SleepEngine(layer)
    saved = engine.state_dict()
    engine.sleep_weights("weight", (0, 0))
    engine.load_state_dict(saved)
    with pytest.raises(ValueError, match="nothing to undo"):
        engine.undo()


def test_the_journal_says_how_many_an_undo_changed(trained, train):
    model, optimizer, _, engine = trained()
    engine.sleep_weights("0", (3, slice(None)))
    engine.undo()
    row = model[0].weight.shape[1]
    assert (engine.journal[-1].action, engine.journal[-1].changed) == ("Undo", row)
    assert engine.journal[-1].tensors["0.weight"].asleep == 2 * row

    engine.freeze_weights("0.bias", [0, 1])
    train(model, optimizer, 1, first=5)
    engine.undo()
    assert engine.journal[-1].changed == 2
    assert engine.journal[-1].tensors["0.bias"].frozen == 0
