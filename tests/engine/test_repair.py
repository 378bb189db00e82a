"""Others write over masks: engine.repair() puts it right at once, and the sentinel sees it."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from schedules import once
from sleepengine import LeakError, Rule, Sleep, SleepEngine, Who, by

ASLEEP = torch.zeros(6, 5, dtype=torch.bool)
ASLEEP[:, :2] = True
FROZEN = torch.zeros(6, 5, dtype=torch.bool)
FROZEN[:, 2] = True


@pytest.fixture
def run(net, batch):
    """A trained network: 12 weights of "0" asleep, 6 frozen; `rest` steps of one loop."""

    def build(**options):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        engine = SleepEngine(model, optimizer, **options).attach()

        def loop(steps, *others, first=0):
            for i in range(first, first + steps):
                optimizer.zero_grad()
                mse_loss(model(batch(i)[0]), batch(i)[1]).backward()
                optimizer.step()
                for other in others:
                    other.step()

        loop(2)
        engine.sleep_weights("0", ASLEEP)
        engine.freeze_weights("0", FROZEN)
        return model, engine, loop

    return build


@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_dense_weights_are_masked_at_once(memory, run, net, words):
    model, engine, loop = run(memory=memory)
    before, dense = model[0].weight.detach().clone(), net(seed=3)
    parked = engine.live.parked["0.weight"].copy()
    model.load_state_dict(dense.state_dict())
    assert int(model[0].weight.count_nonzero()) == 30
    assert engine.repair() == {"0.weight": 18}
    now = model[0].weight
    assert int(words(now)[ASLEEP].count_nonzero()) == 0
    assert torch.equal(words(now)[FROZEN], words(before)[FROZEN])
    rest = ~ASLEEP & ~FROZEN
    assert torch.equal(now[rest], dense[0].weight[rest])
    assert engine.repair() == {}
    engine.check()
    loop(2)
    engine.wake_weights("0")
    values = torch.zeros(6, 5)
    parked.fill_into(values, parked.bits)
    assert torch.equal(words(model[0].weight)[ASLEEP], words(values)[ASLEEP])


def test_a_negative_zero_counts(run):
    model, engine, _ = run()
    with torch.no_grad():
        model[0].weight[0, 0] = -0.0
    assert engine.repair() == {"0.weight": 1}


def test_a_detached_engine_knows_its_sleepers(run, net):
    model, engine, _ = run()
    engine.detach()
    model.load_state_dict(net(seed=3).state_dict())
    assert engine.repair() == {"0.weight": 12}
    assert torch.equal(model[0].weight == 0, ASLEEP)


def test_statistics_of_sleeping_nodes_go_back(batch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    engine = SleepEngine(
        model, optim.SGD(model.parameters(), 0.1), example_inputs=torch.zeros(2, 5)
    ).attach()
    engine.sleep_nodes("0", [1, 4])
    model.load_state_dict({n: torch.full_like(v, 2) for n, v in model.state_dict().items()})
    found = engine.repair()
    assert found["1.running_mean"] == 2
    assert found["0.weight"] == 10
    assert model[1].running_mean.tolist() == [2.0, 0.0, 2.0, 2.0, 0.0, 2.0]


# --- who writes again and again is a leak ----------------------------------------------------


def foreign(model):
    """An optimizer with momentum at every weight, which no mask clears."""
    other = optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    other.step()
    return other


@pytest.mark.parametrize("every", [1, 2, 5])
def test_an_optimizer_that_was_not_given_is_seen(every, run):
    model, engine, loop = run(check_every=every)
    other = foreign(model)
    engine.repair()
    with pytest.raises(
        LeakError, match=r"0\.weight: 12 sleeping .* and 6 frozen .* not given to the engine"
    ):
        loop(2 * every + 1, other)


def test_it_is_seen_by_a_look_at_any_time(run):
    model, engine, loop = run(check_every=0)
    other = foreign(model)
    engine.repair()
    loop(3, other)
    engine.repair()
    with pytest.raises(LeakError, match="each time put right"):
        engine.check()
    engine.check()


def test_an_optimizer_that_steps_now_and_then_is_seen(run):
    model, engine, loop = run(check_every=10)
    other = foreign(model)
    engine.repair()

    def now_and_then():
        for i in range(20):
            loop(1, *[other][: i % 3 == 1])

    with pytest.raises(LeakError, match="each time put right"):
        now_and_then()


def test_weights_that_are_loaded_once_in_a_while_are_no_leak(run, net):
    model, engine, loop = run(check_every=2)
    for i in range(4):
        model.load_state_dict(net(seed=i).state_dict())
        loop(3)
    engine.check()


def test_own_writes_with_repair_are_no_leak(run):
    model, engine, loop = run(check_every=1)
    for _ in range(4):
        with torch.no_grad():
            model[0].weight.add_(0.1)
        assert engine.repair() == {"0.weight": 18}
        loop(1)


def test_two_optimizers_of_the_engine_are_no_leak(net, batch):
    model = net()
    both = [optim.SGD(part.parameters(), 0.1, momentum=0.9) for part in (model[0], model[2])]
    rule = Rule(once("3it"), Who(amount=by(0.5)), Sleep())
    SleepEngine(model, both, [rule], check_every=1).attach()
    for i in range(8):
        model.zero_grad()
        mse_loss(model(batch(i)[0]), batch(i)[1]).backward()
        for optimizer in both:
            optimizer.step()
