"""Several optimizers, groups, tied weights, compiled models: masks are the same."""

from __future__ import annotations

import gc

import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Magnitude
from schedules import once
from sleepengine import PerTensor, Rule, Sleep, SleepEngine, Who, count, to


def by_hand(model, optimizers, batch, masks, steps):
    """Steps with gradients and weights masked by hand (True = awake)."""
    for i in range(steps):
        x, y = batch(i)
        for optimizer in optimizers:
            optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        for name, mask in masks.items():
            model.get_parameter(name).grad.masked_fill_(~mask, 0.0)
        for optimizer in optimizers:
            optimizer.step()
        for name, mask in masks.items():
            model.get_parameter(name).data.masked_fill_(~mask, 0.0)


def one_group(model):
    return [optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)]


def two_groups(model):
    groups = [
        {"params": model[0].parameters(), "weight_decay": 0.5},
        {"params": model[2].parameters(), "lr": 0.01, "momentum": 0.5},
    ]
    return [optim.SGD(groups, 0.1, momentum=0.9)]


def two_optimizers(model):
    return [
        optim.SGD(model[0].parameters(), 0.1, momentum=0.9),
        optim.AdamW(model[2].parameters(), 0.01, weight_decay=0.1),
    ]


@pytest.mark.parametrize("make", [one_group, two_groups, two_optimizers])
def test_groups_and_optimizers(make, net, batch, words):
    model, reference = net(), net()
    optimizers = make(model)
    rule = Rule(once("0it"), Who(Magnitude(), pools=PerTensor(), amount=to(0.5)), Sleep())
    engine = SleepEngine(model, optimizers, [rule]).attach()
    masks = {name: engine.store.awake(name) for name in ("0.weight", "2.weight")}
    for name, mask in masks.items():
        reference.get_parameter(name).data.masked_fill_(~mask, 0.0)
    by_hand(reference, make(reference), batch, masks, 10)
    for i in range(10):
        x, y = batch(i)
        for optimizer in optimizers:
            optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert engine.time.iteration == 10  # ticks are the first optimizer's steps
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(words(ours), words(theirs)), name


def test_a_group_added_later_is_masked_too(net, batch, train):
    model = net()
    optimizer = optim.SGD(model[0].parameters(), 0.1, momentum=0.9)
    engine = SleepEngine(model, [optimizer])
    with pytest.warns(UserWarning, match="no optimizer steps"):
        engine.attach()
    optimizer.add_param_group({"params": model[2].parameters()})
    engine.sleep_weights("2")
    train(model, optimizer, 3)
    assert int(model[2].weight.count_nonzero()) == 0
    engine.check()


def tied():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 3))
    model[2].weight = model[0].weight
    return model


def test_tied_weights_sleep_once_under_either_name(batch, words):
    model, reference = tied(), tied()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    engine = SleepEngine(model, optimizer).attach()
    mask = torch.rand(5, 5) < 0.5
    assert engine.sleep_weights("2", mask) == int(mask.sum())  # the other name of 0.weight
    assert engine.sleep_weights("0", mask) == 0
    assert engine.store.entries() == ("0.weight",)
    masks = {"0.weight": ~mask}
    reference[0].weight.data.masked_fill_(mask, 0.0)
    by_hand(reference, [optim.SGD(reference.parameters(), 0.1, momentum=0.9)], batch, masks, 6)
    for i in range(6):
        x, y = batch(i)
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()
        optimizer.step()
    assert torch.equal(words(model[0].weight), words(reference[0].weight))
    assert model[2].weight is model[0].weight


def test_a_default_scope_counts_a_tied_weight_once():
    engine = SleepEngine(tied())
    assert engine.scope == ("0.weight", "3.weight")
    engine.sleep_weights("0")
    assert engine.fraction() == 25 / 40


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:torch")
@pytest.mark.filterwarnings("ignore:Using .torch.compile.*global hooks:UserWarning")
def test_compiled_model_and_compiled_step(plain, varied, batch, same):
    """Masks that change after compilation take effect."""

    def loop(model, optimizer, engine):
        compiled = torch.compile(model, backend="aot_eager")
        step = torch.compile(optimizer.step, backend="aot_eager")
        engine.attach()
        for i in range(12):
            x, y = batch(i)
            optimizer.zero_grad()
            mse_loss(compiled(x), y).backward()
            step()

    gc.collect()  # an engine that was not detached may watch all forward passes until it is gone
    torch._dynamo.reset()
    assert same(varied(loop), plain())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_engine_for_a_compiled_model_uses_the_names_of_the_model_inside(net):
    compiled = torch.compile(net(), backend="aot_eager")
    engine = SleepEngine(compiled)
    assert engine.scope == ("0.weight", "2.weight")
    assert engine.sleep_weights("0", (1, 2)) == 1
    assert compiled._orig_mod[0].weight[1, 2].item() == 0.0


def test_a_count_of_every_step_under_ignite_epochs(net, batch):
    """Three epochs of four iterations: once("2ep") is after eight."""
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    rule = Rule(once("2ep"), Who(Magnitude(), amount=count(3)), Sleep())
    engine = SleepEngine(model, optimizer, [rule])
    trainer = create_supervised_trainer(model, optimizer, mse_loss)
    engine.attach(trainer)
    trainer.run([batch(i) for i in range(4)], max_epochs=3)
    assert [(r.step, r.epoch, r.changed) for r in engine.journal] == [(8, 2.0, 3)]
