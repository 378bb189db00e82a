"""Scorers that look at the training loop's own steps: right means, no hook left, no trace."""

from __future__ import annotations

import copy
import gc
import io

import pytest
import torch
from torch.nn.modules import module as torch_module

from saliency import (
    ActivationRequest,
    APoZ,
    Dormancy,
    ExactOBS,
    InputMoment,
    MeanActivation,
    Scorer,
    SparseGPT,
    Utility,
    Wanda,
    gather,
)
from schedules import every, once
from sleepengine import (
    PerRow,
)

from .looking import engine_of, rule_of


def hooks(model):
    """Forward hooks of the modules, and of PyTorch for all modules."""
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return own, len(torch_module._global_forward_hooks)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Wanda(accumulate=True),
        lambda: APoZ(accumulate=True),
        lambda: MeanActivation(torch.relu, accumulate=True),
        lambda: Dormancy(torch.relu, accumulate=True),
        lambda: ExactOBS(accumulate=True, damp=0.01),
        lambda: SparseGPT(accumulate=True),
        lambda: Utility(),
    ],
)
def test_the_loop_s_steps_give_what_the_same_batches_give(make, net, train, batch):
    """Without learning, step i of the loop and batch i of `batches=` show the same."""
    seen, asked = make(), make()
    model = net()
    engine, optimizer = engine_of(model, rule_of(seen), lr=0.0)
    with engine.attach():
        train(model, optimizer, 3)
    for i in range(3):
        other = net()
        engine, optimizer = engine_of(other, rule_of(asked, batches=1), lr=0.0, data=[batch(i)])
        with engine.attach():
            train(other, optimizer, 1, first=i)
    mine, theirs = seen.state_dict(), asked.state_dict()
    assert mine["steps"] == theirs["steps"] == {"0.weight": 3, "2.weight": 3}
    for name in mine["mean"]:
        torch.testing.assert_close(mine["mean"][name], theirs["mean"][name])


def test_the_mean_is_over_the_weights_that_each_step_had(net, train, batch):
    model, twin, scorer = net(), net(), Wanda(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer))
    with engine.attach():
        train(model, optimizer, 3)
    other = torch.optim.SGD(twin.parameters(), 0.1)
    params = {"0.weight": twin[0].weight, "2.weight": twin[2].weight}
    moments = []
    for i in range(3):
        moments.append(gather(twin, params, InputMoment(), [batch(i)]))
        train(twin, other, 1, first=i)
    for name in params:
        mean = torch.stack([moment[name] for moment in moments]).mean(0)
        torch.testing.assert_close(scorer.state_dict()["mean"][name], mean)
        assert torch.equal(model.get_parameter(name), twin.get_parameter(name))


def test_a_rule_fires_on_the_mean_of_the_steps_asked_for(net, train, batch):
    model, twin = net(), net()
    rule = rule_of(Wanda(accumulate=True), once("5it"), every("2it"), pools=PerRow())
    engine, optimizer = engine_of(model, rule)
    with engine.attach():
        train(model, optimizer, 5)
    other = torch.optim.SGD(twin.parameters(), 0.1)
    params = {"0.weight": twin[0].weight, "2.weight": twin[2].weight}
    moments = []
    for i in range(5):
        if i in (1, 3):
            moments.append(gather(twin, params, InputMoment(), [batch(i)]))
        train(twin, other, 1, first=i)
    for name, w in params.items():
        worth = w.abs() * ((moments[0][name] + moments[1][name]) / 2).sqrt()
        kept = worth.argsort(dim=1).argsort(dim=1) >= int(w.shape[1] * 0.5 + 0.5)
        assert torch.equal(model.get_parameter(name), w * kept)


def test_hooks_live_for_the_steps_asked_for_alone(net, train):
    model = net()
    engine, optimizer = engine_of(model, rule_of(Wanda(accumulate=True), observe=every("3it")))
    bare = hooks(model)
    seen = []
    with engine.attach():
        for i in range(7):
            seen.append(hooks(model)[1] - bare[1])
            train(model, optimizer, 1, first=i)
            assert hooks(model)[0] == bare[0]
    assert seen == [0, 0, 1, 0, 0, 1, 0]  # before steps 3 and 6
    assert hooks(model) == bare


def test_detach_in_the_middle_of_a_step_removes_them(net, batch):
    model = net()
    bare = hooks(model)
    engine, _ = engine_of(model, rule_of(Wanda(accumulate=True)))
    engine.attach()
    model(batch()[0])
    assert hooks(model)[1] == bare[1] + 1
    engine.detach()
    assert hooks(model) == bare


def test_an_engine_that_is_dropped_takes_them_along(net):
    model = net()
    bare = hooks(model)
    engine, optimizer = engine_of(model, rule_of(Wanda(accumulate=True)))
    engine.attach()
    del engine, optimizer
    gc.collect()
    assert hooks(model) == bare


class Fails(ActivationRequest):
    def measure(self, rows):
        raise RuntimeError("third party")

    def finish(self, means, weight):
        return means


class Third(Scorer):
    needs = frozenset({"weights", "activations"})
    activations = Fails()
    accumulates = True

    def score(self, signals):
        return dict(signals.weights)


def test_an_error_inside_removes_them(net, batch):
    model = net()
    bare = hooks(model)
    engine, _ = engine_of(model, rule_of(Third()))
    with engine.attach():
        with pytest.raises(RuntimeError, match="third party"):
            model(batch()[0])
        assert hooks(model) == bare


def test_an_error_in_the_loop_removes_them(net, batch):
    model = net()
    bare = hooks(model)
    engine, _ = engine_of(model, rule_of(Wanda(accumulate=True)))
    with pytest.raises(RuntimeError, match="shapes"), engine.attach():
        model(torch.zeros(2, 4))
    assert hooks(model) == bare


def test_copies_made_meanwhile_carry_nothing(net, train, batch):
    model, scorer = net(), Wanda(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer), lr=0.0)
    with engine.attach():
        twin = copy.deepcopy(model)
        file = io.BytesIO()
        torch.save(model, file)
        assert hooks(twin)[0] == 0
        twin(100 * torch.ones(8, 5))  # does not count
        train(model, optimizer, 1)
    params = {"0.weight": model[0].weight, "2.weight": model[2].weight}
    moment = gather(model, params, InputMoment(), [batch(0)])
    for name, mean in scorer.state_dict()["mean"].items():
        torch.testing.assert_close(mean, moment[name])
