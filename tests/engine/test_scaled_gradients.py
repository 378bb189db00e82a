"""Under a GradScaler scorers read the gradients of the loss, whatever the scale is."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Scorer, Snip
from schedules import every, once
from sleepengine import Freeze, Rule, SetupError, Sleep, SleepEngine, Who, below, by, to


class Sum(Scorer):
    """The sum of the gradients of all steps, which a scale that changes would weigh unevenly."""

    needs = frozenset({"grads"})
    accumulates = True

    def __init__(self):
        self.total = {}
        self.each = []

    def observe(self, signals):
        for name in signals.weights:
            grad = signals.grads[name]
            self.total[name] = self.total.get(name, 0) + grad
        self.each.append(signals.grads["0.weight"].clone())

    def score(self, signals):
        return {name: self.total[name].abs() for name in signals.weights}


def new_scaler(**how):
    return torch.amp.GradScaler("cpu", **{"init_scale": 2.0**10, "growth_interval": 2, **how})


@pytest.fixture
def run(net, batch):
    """Eight steps; with a scaler whose scale doubles every second step, or without one."""

    def loop(rules, scaler, given=True, make=None, clip=False, grow=1):
        model = net()
        optimizer = (make or (lambda p: optim.SGD(p, 0.1, momentum=0.9)))(model.parameters())
        engine = SleepEngine(model, optimizer, rules, scaler=scaler if given else None)
        engine.sleep_weights("0", (slice(None), 0))
        engine.attach()
        for i in range(8):
            optimizer.zero_grad()
            for k in range(grow):
                loss = mse_loss(model(batch(grow * i + k)[0]), batch(grow * i + k)[1])
                (loss if scaler is None else scaler.scale(loss)).backward()
            if clip:
                if scaler is not None:
                    scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
        return model, engine

    return loop


def observing(scorer):
    return [Rule(once("6it"), Who(scorer, amount=by(0.25)), Sleep())]


@pytest.mark.parametrize("how", [{}, {"clip": True}, {"grow": 3}], ids=["", "clip", "micro"])
@pytest.mark.parametrize(
    "make",
    [None, lambda p: optim.SGD(p, 0.1, fused=True), lambda p: optim.AdamW(p, 0.01, fused=True)],
    ids=["plain", "fused", "fused AdamW"],
)
def test_sums_over_steps_are_those_of_a_run_without_scaler(make, how, run):
    if how.get("clip") and make is not None:
        make = None  # what the fused steps do to clipped gradients is their own
    scaled, plain, scaler = Sum(), Sum(), new_scaler()
    model, engine = run(observing(scaled), scaler, make=make, **how)
    same, reference = run(observing(plain), None, make=make, **how)
    assert scaler.get_scale() == 2.0**14
    assert len(scaled.each) == 8
    for one, other in zip(scaled.each, plain.each, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert bool(scaled.each[0][:, 0].any())  # sleepers too
    assert engine.store.digest() == reference.store.digest()
    torch.testing.assert_close(model[0].weight, same[0].weight)


def test_the_factor_is_that_of_the_scaler_itself(net, batch):
    """Not a power of two: equal to what unscale_ leaves in .grad, bit for bit."""
    model, scorer, grads = net(), Sum(), []
    optimizer = optim.SGD(model.parameters(), 0.1)
    scaler = new_scaler(init_scale=1000.3, growth_factor=1.7)
    rule = Rule(once("99it"), Who(scorer, amount=by(0.0)), Freeze())
    SleepEngine(model, optimizer, [rule], scaler=scaler).attach()
    for i in range(6):
        optimizer.zero_grad()
        scaler.scale(mse_loss(model(batch(i)[0]), batch(i)[1])).backward()
        scaler.step(optimizer)
        scaler.update()
        grads.append(model[0].weight.grad.clone())
    assert all(torch.equal(*pair) for pair in zip(scorer.each, grads, strict=True))


@pytest.mark.parametrize("at", ["before_step", "after_step"])
def test_thresholds_are_of_the_gradients_of_the_loss(at, row):
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    scaler = new_scaler()
    rule = Rule(once("1it"), Who(Gradient(), amount=below(0.5)), Sleep(), at=at)
    engine = SleepEngine(layer, optimizer, [rule], scaler=scaler).attach()
    for _ in range(2):
        optimizer.zero_grad()
        scaler.scale(layer(torch.tensor([[0.25, 0.75, 0.375]])).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert engine.is_sleeping("weight").tolist() == [[True, False, True]]


def test_a_call_between_backward_and_step(row):
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    scaler = new_scaler()
    later = Rule(every("1it"), Who(Gradient(), amount=by(0.0)), Freeze())
    engine = SleepEngine(layer, optimizer, [later], scaler=scaler).attach()
    scaler.scale(layer(torch.tensor([[0.25, 0.75, 0.375]])).sum()).backward()
    engine.fire(Rule(once("0it"), Who(Gradient(), amount=below(0.5)), Sleep()))
    assert engine.is_sleeping("weight").tolist() == [[True, False, True]]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("at", ["before_step", "after_step"])
def test_a_step_that_overflows_shows_nothing(at, fused, row):
    scorer = Sum()
    layer = nn.Sequential(row(1.0, 2.0, 3.0))
    optimizer = optim.SGD(layer.parameters(), 0.0, fused=fused)
    scaler = new_scaler()
    rules = [
        Rule(every("1it"), Who(Gradient(), amount=by(0.0)), Freeze(), at=at, name="act"),
        Rule(once("99it"), Who(scorer, amount=by(0.0)), Freeze(), name="observe"),
    ]
    engine = SleepEngine(layer, optimizer, rules, scaler=scaler).attach()
    for x in (1.0, 1e38, 2.0, 3.0):
        optimizer.zero_grad()
        scaler.scale(layer(torch.full((1, 3), x)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert [grad[0, 0].item() for grad in scorer.each] == [1.0, 2.0, 3.0]
    assert len(engine.journal) == (3 if at == "after_step" else 2)


def test_two_optimizers_of_one_scaler(net, batch):
    found = []
    for scaler in (None, new_scaler()):
        model = net()
        both = [optim.SGD(part.parameters(), 0.1) for part in (model[0], model[2])]
        rule = Rule(once("0it"), Who(Snip(), amount=to(0.5)), Sleep())
        scorer = Sum()
        rules = [rule, Rule(once("9it"), Who(scorer, amount=by(0.0)), Freeze())]
        engine = SleepEngine(model, both, rules, scaler=scaler).attach()
        for i in range(4):
            model.zero_grad()
            loss = mse_loss(model(batch(i)[0]), batch(i)[1])
            (loss if scaler is None else scaler.scale(loss)).backward()
            for optimizer in both:
                optimizer.step() if scaler is None else scaler.step(optimizer)
            if scaler is not None:
                scaler.update()
        found.append((engine.store.digest(), scorer.total))
    assert found[0][0] == found[1][0]
    for name in ("0.weight", "2.weight"):
        torch.testing.assert_close(found[0][1][name], found[1][1][name])


def test_ignite_reads_them_after_the_scaler_has_moved_on(net, batch):
    scorers = []
    for scaler in (None, new_scaler(growth_interval=1)):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        scorers.append(Sum())

        def step(_, pair, model=model, optimizer=optimizer, scaler=scaler):
            optimizer.zero_grad()
            loss = mse_loss(model(pair[0]), pair[1])
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()

        trainer = Engine(step)
        SleepEngine(model, optimizer, observing(scorers[-1]), scaler=scaler).attach(trainer)
        trainer.run([batch(i) for i in range(8)], max_epochs=1)
    torch.testing.assert_close(scorers[0].total["0.weight"], scorers[1].total["0.weight"])


def test_a_scaler_that_was_not_given_is_told_once(run):
    with pytest.warns(UserWarning, match=r"scaled by 1024, and rules 'Sleep-Sum'.*scaler=") as told:
        run(observing(Sum()), new_scaler(), given=False)
    assert len(told) == 1


def test_an_order_of_scores_minds_no_scale(run):
    rule = Rule(every("2it"), Who(Gradient(), amount=by(0.2)), Sleep())
    run([rule], new_scaler(), given=False)
    run([rule], new_scaler(enabled=False))


def test_anything_else_is_refused(net):
    with pytest.raises(SetupError, match=r"scaler=65536.0 is not a torch.amp.GradScaler"):
        SleepEngine(net(), scaler=65536.0)
