"""However the loop is written, masks and weights are those of the plainest one, bit for bit."""

from __future__ import annotations

import warnings

import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import nn, optim
from torch.nn.functional import mse_loss

from sleepengine import SleepEngine

from .rigl_rules import rigl

HOW = [{}, {"at": "before_step"}, {"skip_step": True}]


@pytest.mark.parametrize("how", HOW, ids=["after", "before", "skip"])
def test_ignite(how, plain, varied, batch, same):
    def loop(model, optimizer, engine):
        trainer = create_supervised_trainer(model, optimizer, mse_loss)
        engine.attach(trainer)
        trainer.run([batch(i) for i in range(12)], max_epochs=1)

    assert same(varied(loop, **how), plain(**how))


@pytest.mark.parametrize("how", HOW, ids=["after", "before", "skip"])
def test_ignite_with_accumulation(how, varied, batch, same):
    def ours(model, optimizer, engine):
        trainer = create_supervised_trainer(
            model, optimizer, mse_loss, gradient_accumulation_steps=4
        )
        engine.attach(trainer)
        trainer.run([batch(i) for i in range(40)], max_epochs=1)

    def by_hand(model, optimizer, engine):
        engine.attach()
        for step in range(10):
            optimizer.zero_grad()
            for i in range(4):
                x, y = batch(4 * step + i)
                (mse_loss(model(x), y) / 4).backward()
            optimizer.step()

    # A tick is an iteration under Ignite, and a step in a plain loop.
    assert same(varied(ours, "8it", **how), varied(by_hand, "2it", **how))


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad(to_none, plain, varied, batch, same):
    def loop(model, optimizer, engine):
        engine.attach()
        for i in range(12):
            x, y = batch(i)
            mse_loss(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=to_none)

    assert same(varied(loop), plain())


@pytest.mark.parametrize("how", [{}, {"skip_step": True}], ids=["after", "skip"])
def test_closure(how, plain, varied, batch, same):
    def loop(model, optimizer, engine):
        engine.attach()
        for i in range(12):
            x, y = batch(i)

            def closure(x=x, y=y):
                optimizer.zero_grad()
                loss = mse_loss(model(x), y)
                loss.backward()
                return loss

            if how:  # what acts before the step needs gradients that are there by then
                closure()
                optimizer.step()
            else:
                optimizer.step(closure)

    assert same(varied(loop, **how), plain(**how))


@pytest.mark.parametrize("how", HOW, ids=["after", "before", "skip"])
def test_grad_scaler(how, plain, varied, batch, same):
    """A power of two in every gradient changes no order of scores."""

    def loop(model, optimizer, engine):
        engine.attach()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=100)
        for i in range(12):
            x, y = batch(i)
            optimizer.zero_grad()
            scaler.scale(mse_loss(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()

    assert same(varied(loop, **how), plain(**how))


@pytest.mark.parametrize(("column", "ticks"), [(0, 1), (1, 0)], ids=["asleep", "awake"])
def test_a_scaled_step_is_skipped_for_overflow_of_awake_weights_only(row, column, ticks):
    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 1e-39)
    engine = SleepEngine(layer, optimizer)
    engine.sleep_weights("weight", (0, 0))
    engine.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    x = torch.zeros(1, 2)
    x[0, column] = 1e38  # times the scale it is inf
    scaler.scale(layer(x).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert engine.time.iteration == ticks
    assert layer.weight.tolist() == [[0.0, 2.0]]


def test_clipping_sees_the_awake_weights_alone(row):
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    engine = SleepEngine(layer, optimizer)
    engine.sleep_weights("weight", (0, 0))
    engine.freeze_weights("weight", (0, 1))
    engine.attach()
    layer(torch.tensor([[30.0, 40.0, 3.0]])).sum().backward()
    assert nn.utils.clip_grad_norm_(layer.parameters(), 1.5).item() == 3.0
    optimizer.step()
    assert layer.weight.tolist() == [[0.0, 2.0, pytest.approx(1.5)]]


@pytest.mark.parametrize("engine_first", [True, False])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.StepLR(o, 3),
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 12),
        lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
        lambda o: optim.lr_scheduler.LinearLR(o, total_iters=20),
    ],
)
def test_learning_rate_schedules_do_not_warn(schedule, engine_first, net, batch):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    rules = rigl("2it", skip_step=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = SleepEngine(model, optimizer, rules)
        if engine_first:
            engine.attach()
        scheduler = schedule(optimizer)
        if not engine_first:
            engine.attach()
        for i in range(5):
            x, y = batch(i)
            optimizer.zero_grad()
            mse_loss(model(x), y).backward()
            optimizer.step()
            scheduler.step()
    assert optimizer.param_groups[0]["lr"] != 0.1


def test_masks_that_change_inside_autocast_take_effect_at_once(net, batch):
    """Autocast keeps low-precision copies of the weights until its block ends."""
    model = net()
    engine = SleepEngine(model, optim.SGD(model.parameters(), 0.1)).attach()
    x = batch(0)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = model(x)
        engine.sleep_weights("0")
        engine.sleep_weights("2")
        after = model(x)
    assert not torch.equal(before, after)
    assert torch.equal(after, model[2].bias.bfloat16().expand(8, 3))


def test_a_change_between_forward_and_backward_is_an_error_of_autograd(net, batch):
    model = net()
    engine = SleepEngine(model, optim.SGD(model.parameters(), 0.1)).attach()
    loss = mse_loss(model(batch(0)[0]), batch(0)[1])
    engine.sleep_weights("2", (0, 0))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
