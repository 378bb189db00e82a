"""What was seen of forward passes is saved, and read with care."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from saliency import (
    BatchGradients,
    Fisher,
    FisherDiagonal,
    InputMoment,
    MissingSignal,
    Sum,
    Wanda,
    gather,
)
from schedules import after, once
from sleepengine import (
    Global,
    PerTensor,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Who,
    by,
)

from .looking import engine_of, rule_of


def test_state_is_saved_and_goes_on(net, train, through_file):
    runs = []
    for split in (False, True):
        model = net()
        engine, optimizer = engine_of(model, rule_of(Wanda(accumulate=True), once("4it")))
        with engine.attach():
            train(model, optimizer, 2)
            saved = through_file((model.state_dict(), engine.state_dict()))
            if not split:
                train(model, optimizer, 3, first=2)
        if split:
            model = net()
            model.load_state_dict(saved[0])
            engine, optimizer = engine_of(model, rule_of(Wanda(accumulate=True), once("4it")))
            engine.load_state_dict(saved[1])
            with engine.attach():
                train(model, optimizer, 3, first=2)
        runs.append(model)
    assert bool((runs[0][0].weight == 0).any())
    assert all(
        torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True)
    )


def test_fisher_squares_the_loop_s_gradients(net, train, batch):
    model, twin = net(), net()
    scorer = Fisher(FisherDiagonal(BatchGradients()), accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer, observe=after("2it")))
    with engine.attach():
        train(model, optimizer, 4)
    asked = Fisher(FisherDiagonal(BatchGradients()), accumulate=True)
    other = torch.optim.SGD(twin.parameters(), 0.1)
    squares = []
    for i in range(4):
        x, y = batch(i)
        loss = nn.functional.mse_loss(twin(x), y)
        if i >= 1:  # steps 2, 3, 4
            squares.append(torch.autograd.grad(loss, twin[0].weight)[0].square())
        train(twin, other, 1, first=i)
    mean = scorer.state_dict()["mean"]["0.weight"]
    torch.testing.assert_close(mean, torch.stack(squares).mean(0))
    assert asked.state_dict() == {"mean": {}, "steps": {}}


def test_fisher_of_samples_needs_batches_of_its_own(net, train, batch):
    with pytest.raises(SetupError, match="Fisher reads curvature of batches of its own: give Who"):
        engine_of(net(), rule_of(Fisher(accumulate=True)))
    model, scorer = net(), Fisher(accumulate=True)
    data = [batch(i) for i in range(2)]
    rule = rule_of(scorer, once("2it"), batches=2, pools=Global())
    engine, optimizer = engine_of(model, rule, data=data, loss_fn=nn.MSELoss())
    with engine.attach():
        train(model, optimizer, 2)
        assert engine.fraction() == pytest.approx(0.5)
    assert scorer.state_dict()["steps"] == {"0.weight": 2, "2.weight": 2}


def test_a_firing_before_anything_was_seen_says_so(net):
    engine, _ = engine_of(net(), rule_of(Wanda(accumulate=True), once("0it")))
    with pytest.raises(MissingSignal, match="Wanda in rule 'look' needs 'activations'"):
        engine.attach()
    engine.detach()


def test_a_scorer_inside_that_keeps_nothing_reads_the_step_at_hand(net, train, batch):
    model = net()
    scorer = Sum(Wanda(), Wanda(accumulate=True))
    rule = rule_of(scorer, once("3it"), observe=once("1it"), pools=Global())
    engine, optimizer = engine_of(model, rule, lr=0.0)
    with engine.attach():
        train(model, optimizer, 3)
    twin, worth = net(), []
    params = {"0.weight": twin[0].weight, "2.weight": twin[2].weight}
    moments = [gather(twin, params, InputMoment(), [batch(i)]) for i in (0, 2)]
    for name, w in params.items():
        worth.append(sum(w.abs() * moment[name].sqrt() for moment in moments).flatten())
    kept = torch.cat(worth).argsort().argsort() >= 24
    assert torch.equal(torch.cat([model[i].weight.flatten() != 0 for i in (0, 2)]), kept)


def test_steps_without_a_forward_pass_are_not_seen(net):
    model, scorer = net(), Wanda(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer))
    with engine.attach():
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert scorer.state_dict()["steps"] == {}


def test_layers_that_a_step_does_not_run_keep_their_means(batch):
    class Either(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.use = nn.Linear(5, 3), nn.Linear(5, 3), "a"

        def forward(self, x):
            return (self.a if self.use == "a" else self.b)(x)

    model, scorer = Either(), Wanda(accumulate=True)
    rule = rule_of(scorer, once("3it"), pools=PerTensor(), what=Sleep())
    engine, optimizer = engine_of(model, rule)
    with engine.attach():
        for i, use in enumerate("abb"):
            model.use = use
            optimizer.zero_grad()
            nn.functional.mse_loss(model(batch(i)[0]), batch(i)[1]).backward()
            optimizer.step()
        assert engine.fraction() == pytest.approx(16 / 30)
    assert scorer.state_dict()["steps"] == {"a.weight": 1, "b.weight": 2}


def test_compiled_passes_are_refused_when_the_engine_is_built(net):
    rule = rule_of(Wanda(accumulate=True))
    inside = nn.Sequential(net(), nn.ReLU())
    inside[0].compile(backend="eager")
    for model in (torch.compile(net(), backend="eager"), inside):
        with pytest.raises(SetupError, match="compiled forward passes show nothing to look at"):
            SleepEngine(model, None, [rule])


def test_a_layer_that_cannot_be_watched_is_named_when_the_engine_is_built():
    model = nn.Sequential(nn.ConvTranspose1d(2, 2, 2), nn.Linear(2, 2))
    rule = Rule(once("5it"), Who(Wanda(accumulate=True), amount=by(0.5)), Sleep())
    with pytest.raises(SetupError, match=r"'0.weight' \(ConvTranspose1d.weight\)"):
        SleepEngine(model, None, [rule])
