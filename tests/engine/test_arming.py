"""Signals are gathered on the steps that need them, are what they say, and leave no trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude, Snip
from schedules import at, every, once, when
from sleepengine import (
    Freeze,
    Rule,
    Sleep,
    SleepEngine,
    Who,
    by,
    to,
)

from .recording import Recorder, freeze


@pytest.fixture
def hooked(net, batch):
    """The steps whose backward pass ran through hooks of ours, in a run of ten steps."""

    def run(*rules, **options):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.01)
        engine = SleepEngine(model, optimizer, rules, **options).attach()
        found = []
        for i in range(10):
            optimizer.zero_grad()
            loss = mse_loss(model(batch(i)[0]), batch(i)[1])
            if any(p._post_accumulate_grad_hooks for p in model.parameters()):
                found.append(i + 1)
            loss.backward()
            optimizer.step()
        return found, engine

    return run


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        (freeze(every("4it"), Magnitude()), []),
        (freeze(every("4it"), Gradient()), [4, 8]),
        (freeze(at("3it", "4it"), Gradient()), [3, 4]),
        (freeze(once("0it"), Gradient()), [1]),
        (freeze(every("4it"), Gradient(), at="before_step"), [5, 9]),
        (freeze(every("4it"), Gradient(), skip_step=True), [5, 9]),
        (freeze(when(lambda clock: clock.iteration == 4), Gradient()), [5]),
        (freeze(every("4it"), Recorder(("grads",), accumulates=True)), list(range(1, 11))),
        (
            freeze(every("4it"), Recorder(("grads",), True), observe=every("3it")),
            [3, 4, 6, 8, 9],
        ),
    ],
    ids=["magnitude", "after", "at", "init", "before", "skip", "predicate", "observer", "observe"],
)
def test_gradients_are_watched_on_the_steps_that_need_them_only(rule, steps, hooked):
    found, engine = hooked(rule)
    assert found == steps
    assert engine.enforcer.watched == () or steps == list(range(1, 11))


def test_the_gradient_is_dense_and_that_of_the_step(net, batch):
    """Sleeping and frozen weights too, before clipping."""
    scorer = Recorder(("grads",))
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    engine = SleepEngine(model, optimizer, [freeze(every("2it"), scorer)]).attach()
    engine.sleep_weights("0", (slice(None), 1))
    engine.freeze_weights("2", (0, slice(None)))
    for i in range(4):
        x, y = batch(i)
        optimizer.zero_grad()
        loss = mse_loss(model(x), y)
        dense = torch.autograd.grad(loss, [model[0].weight, model[2].weight], retain_graph=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        if i % 2:
            seen = scorer.scored[-1]
            assert seen.step == i + 1
            assert torch.equal(seen.grads["0.weight"], dense[0])
            assert torch.equal(seen.grads["2.weight"], dense[1])
    assert len(scorer.scored) == 2


def test_micro_batches_are_summed(net, batch):
    scorer = Recorder(("grads",))
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer, [freeze(once("1it"), scorer)])
    engine.sleep_weights("0", (slice(None), 1))
    engine.attach()
    total = torch.zeros(6, 5)
    for i in range(3):
        loss = mse_loss(model(batch(i)[0]), batch(i)[1])
        total += torch.autograd.grad(loss, model[0].weight, retain_graph=True)[0]
        loss.backward()
    optimizer.step()
    assert torch.allclose(scorer.scored[0].grads["0.weight"], total, atol=1e-7)
    assert torch.equal(scorer.scored[0].grads["0.weight"][:, 0], total[:, 0])


def test_gradients_of_parameters_that_only_the_rule_names(net, batch, train):
    scorer = Recorder(("grads",))
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    rule = Rule(once("1it"), Who(scorer, amount=by(0.0), params="0.bias"), Freeze())
    SleepEngine(model, optimizer, [rule], params="2").attach()
    train(model, optimizer, 1)
    assert int(scorer.scored[0].grads["0.bias"].count_nonzero()) == 6


def test_a_parameter_without_gradient_counts_as_zero(net, batch):
    scorer = Recorder(("grads",))
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    SleepEngine(model, optimizer, [freeze(once("1it"), scorer)]).attach()
    model[0].weight.sum().backward()
    optimizer.step()
    assert scorer.scored[0].grads["0.weight"].tolist() == torch.ones(6, 5).tolist()
    assert scorer.scored[0].grads["2.weight"].count_nonzero() == 0


def test_snip_at_the_start_acts_on_the_first_backward_before_the_first_step(row, push):
    """|w g| is 2, 6, 3, 4: the first and the third sleep, and only the others are stepped."""
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 1.0, momentum=0.9)
    rule = Rule(once("0it"), Who(Snip(), amount=to(0.5)), Sleep())
    engine = SleepEngine(layer, optimizer, [rule]).attach()
    assert engine.store.asleep_count() == 0
    push(layer, optimizer, 2.0, 3.0, 1.0, 1.0)
    assert layer.weight.tolist() == [[0.0, -1.0, 0.0, 3.0]]
    assert optimizer.state[layer.weight]["momentum_buffer"].tolist() == [[0.0, 3.0, 0.0, 1.0]]
    assert [record.step for record in engine.journal] == [0]
    engine.wake_weights("weight")
    assert layer.weight.tolist() == [[1.0, -1.0, 3.0, 3.0]]


def test_own_batches_leave_no_trace(batch):
    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    model[1].eval()
    optimizer = optim.SGD(model.parameters(), 0.1)
    data = [batch(i) for i in range(3)]
    rule = Rule(once("0it"), Who(Snip(), amount=to(0.5), batches=3), Sleep())
    mse_loss(model(data[0][0]), data[0][1]).backward()

    def traces():
        return (
            [p.grad.clone() for p in model.parameters()],
            [b.clone() for b in model.buffers()],
            [m.training for m in model.modules()],
            torch.get_rng_state(),
            [len(m._forward_hooks) for m in model.modules()],
        )

    before = traces()
    engine = SleepEngine(model, optimizer, [rule], data=data, loss_fn=mse_loss)
    engine.attach()
    after = traces()
    assert engine.store.asleep_count() == 24
    asleep = engine.is_sleeping("0")
    before[0][0].masked_fill_(asleep, 0.0)  # a pending gradient is masked, nothing else
    before[0][4].masked_fill_(engine.is_sleeping("3"), 0.0)
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def test_own_batches_give_the_mean_gradient(net, batch):
    scorer = Recorder(("grads",))
    model = net()
    data = [batch(i) for i in range(4)]
    rule = Rule(once("0it"), Who(scorer, amount=by(0.0), batches=3), Freeze())
    SleepEngine(model, None, [rule], data=data, loss_fn=mse_loss).attach()
    losses = [mse_loss(model(x), y) for x, y in data[:3]]
    expected = torch.autograd.grad(sum(losses) / 3, model[0].weight)[0]
    assert torch.allclose(scorer.scored[0].grads["0.weight"], expected, atol=1e-7)
