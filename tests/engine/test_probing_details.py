"""Batches that rules run by themselves: what they see, and what is refused."""

import pytest
import torch
from torch import nn

from saliency import (
    GraSP,
    Magnitude,
    Scorer,
    Smoothed,
    Snip,
    SynFlow,
    Wanda,
    synaptic_flow_steps,
)
from schedules import every, once
from sleepengine import (
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Who,
    to,
)

from .probes import engine_of


def test_activations_are_of_eval_mode_and_gradients_of_the_live_one(data):
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append(self.training)
            return super().forward(x)

    for scorer, live in ((Wanda(), False), (SynFlow(), False), (GraSP(), True), (Snip(), True)):
        seen.clear()
        engine_of(Spy(5, 3), Who(scorer, amount=to(0.5), batches=1), data).attach().detach()
        assert set(seen) == {live}, scorer


def test_rules_of_one_transaction_measure_what_those_before_left(net, data):
    """SynFlow's rounds as rules at one time are the same as one after the other."""
    shares = synaptic_flow_steps(0.75, rounds=4)
    rules = [
        Rule(once("0it"), Who(SynFlow(), amount=to(share), batches=1), Sleep()) for share in shares
    ]
    together, apart, once_only = net(), net(), net()
    SleepEngine(together, None, rules, data=data, loss_fn=nn.MSELoss()).attach().detach()
    with SleepEngine(apart, None, [], data=data, loss_fn=nn.MSELoss()).attach() as engine:
        for rule in rules:
            engine.fire(rule)
    SleepEngine(once_only, None, rules[-1:], data=data, loss_fn=nn.MSELoss()).attach().detach()
    masks = [{n: p != 0 for n, p in m.named_parameters()} for m in (together, apart, once_only)]
    assert all(torch.equal(masks[0][n], masks[1][n]) for n in masks[0])
    assert any(not torch.equal(masks[0][n], masks[2][n]) for n in masks[0])


def test_scorers_observe_on_the_steps_asked_for(net, data, train):
    model, scorer = net(), Wanda(accumulate=True)
    rule = Rule(
        once("9it"),
        Who(scorer, amount=to(0.5), batches=1),
        Sleep(),
        observe=every("2it"),
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with SleepEngine(model, optimizer, [rule], data=data).attach():
        train(model, optimizer, 5)
    assert scorer.state_dict()["steps"] == {"0.weight": 2, "2.weight": 2}


def test_scorers_without_gradients_observe_too(net, train):
    model, scorer = net(), Smoothed(Magnitude(), decay=0.0)
    rule = Rule(once("9it"), Who(scorer, amount=to(0.5)), Sleep())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with SleepEngine(model, optimizer, [rule]).attach():
        train(model, optimizer, 3)
    assert torch.equal(scorer.state_dict()["mean"]["0.weight"], model[0].weight.detach().abs())


class NoRequest(Scorer):
    needs = frozenset({"weights", "activations", "curvature"})

    def score(self, signals):
        return {name: w.abs() for name, w in signals.weights.items()}


@pytest.mark.parametrize(
    ("scorer", "more", "said"),
    [
        (GraSP(), {"batches": None}, "GraSP reads curvature of batches of its own: give Who"),
        (Wanda(), {"data": None}, "Wanda reads activations: batches=2 needs data="),
        (GraSP(), {"data": None}, "GraSP reads curvature: batches=2 needs data="),
        (GraSP(), {"loss_fn": None}, "GraSP reads curvature: batches=2 needs loss_fn="),
        (NoRequest(), {}, "NoRequest does not say which curvature it needs"),
        (NoRequest(), {}, "NoRequest does not say which activations"),
    ],
)
def test_gaps_are_named_when_the_engine_is_built(scorer, more, said, net, data):
    model = net()
    given = {"batches": 2, "data": data, "loss_fn": nn.MSELoss(), **more}
    rule = Rule(once("0it"), Who(scorer, amount=to(0.5), batches=given["batches"]), Sleep())
    with pytest.raises(SetupError, match=said):
        SleepEngine(model, None, [rule], data=given["data"], loss_fn=given["loss_fn"])


def test_layers_without_readable_inputs_are_named_when_the_engine_is_built(data):
    model = nn.Sequential(nn.ConvTranspose1d(2, 2, 2), nn.Linear(2, 2))
    rule = Rule(once("0it"), Who(Wanda(), amount=to(0.5), batches=1), Sleep())
    with pytest.raises(SetupError, match=r"'0.weight' \(ConvTranspose1d.weight\)[\s\S]*params="):
        SleepEngine(model, None, [rule], data=data)
    narrow = Rule(once("0it"), Who(Wanda(), amount=to(0.5), batches=1, params="1"), Sleep())
    SleepEngine(model, None, [narrow], data=data)


@pytest.mark.parametrize("scorer", [Wanda(), GraSP(), Snip()], ids=repr)
def test_too_few_batches(scorer, net, data):
    engine = engine_of(net(), Who(scorer, amount=to(0.5), batches=9), data)
    with pytest.raises(SetupError, match="data= gave 4 batches where 9 were asked for"):
        engine.attach()
    engine.detach()
