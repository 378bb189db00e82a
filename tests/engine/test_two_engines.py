"""Two engines never hold one parameter."""

from __future__ import annotations

import copy
import gc

import pytest
from ignite.engine import Engine
from torch import nn, optim

from saliency import Magnitude
from schedules import once
from sleepengine import (
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Who,
    by,
)


def make(*rules, model=None, **options):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) if model is None else model
    return SleepEngine(model, optim.SGD(model.parameters(), 0.1), rules, **options)


def test_two_engines_on_one_optimizer():
    engine = make().attach()
    other = SleepEngine(engine.model, engine.live.optimizers)
    with pytest.raises(SetupError, match=r"another engine is attached to 0\.weight, .*detach\(\)"):
        other.attach()
    assert not other.attached
    engine.detach()
    assert other.attach().attached


def test_two_engines_on_one_model_with_masks():
    engine = make().attach()
    engine.sleep_weights("2")
    other = SleepEngine(engine.model, optim.SGD(engine.model.parameters(), 0.1))
    with pytest.raises(SetupError, match=r"another engine is attached to .*2\.weight"):
        other.attach()
    trainer = Engine(lambda *_: None)
    with pytest.raises(SetupError, match=r"another engine is attached to .*2\.weight"):
        other.attach(trainer)
    assert "sleep_fraction" not in vars(trainer.state)


def test_two_engines_with_an_optimizer_each_are_both_named_though_nothing_sleeps():
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
    rule = Rule(once("9it"), Who(Magnitude(), amount=by(0.5), params="1.weight"), Sleep())
    first = SleepEngine(model, optim.SGD(model.parameters(), 0.1), [rule])
    other = SleepEngine(model, optim.Adam(model[1].parameters()), params="1.weight")
    with first.attach():
        with pytest.raises(
            SetupError,
            match=r"attached to 1\.weight, 1\.bias \(SGD; rules: Sleep-Magnitude\); "
            r"this one \(Adam; rules: none\)",
        ):
            other.attach()
        assert not model[1].weight._post_accumulate_grad_hooks
        with pytest.raises(SetupError, match=r"attached to 0\.weight"):
            SleepEngine(model).attach()
    with other.attach(), pytest.raises(SetupError, match=r"\(Adam; rules: none\)"):
        first.attach()
    first.attach().detach()


def test_an_engine_that_is_gone_holds_nothing():
    model = nn.Linear(5, 6)
    engine = SleepEngine(model).attach()
    copied = copy.deepcopy(model)
    SleepEngine(copied).attach()
    del engine
    gc.collect()
    SleepEngine(model).attach()


def test_two_engines_on_two_halves_of_a_model():
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
    for layer in model:
        SleepEngine(layer, optim.SGD(layer.parameters(), 0.1)).attach().sleep_weights("weight")
