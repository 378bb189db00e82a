"""Scorers that look at the training loop's own steps: right means, no hook left, no trace."""

from __future__ import annotations

import copy
import gc
import io

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.nn.modules import module as torch_module

from saliency import (
    ActivationRequest,
    APoZ,
    BatchGradients,
    Dormancy,
    ExactOBS,
    Fisher,
    FisherDiagonal,
    InputMoment,
    MeanActivation,
    MissingSignal,
    Scorer,
    SparseGPT,
    Sum,
    Utility,
    Wanda,
    gather,
)
from schedules import after, every, once
from sleepengine import (
    Global,
    PerRow,
    PerTensor,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Who,
    by,
    to,
)

NEVER = once("999it")


def hooks(model):
    """Forward hooks of the modules, and of PyTorch for all modules."""
    own = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    return own, len(torch_module._global_forward_hooks)


def rule_of(scorer, when=NEVER, observe=None, batches=None, what=None, **more):
    who = Who(scorer, amount=to(0.5), batches=batches, **more)
    return Rule(when, who, what or Sleep(), observe=observe, name="look")


def engine_of(model, rule, lr=0.1, **more):
    optimizer = torch.optim.SGD(model.parameters(), lr)
    return SleepEngine(model, optimizer, [rule], **more), optimizer


@pytest.fixture(autouse=True)
def _no_hook_is_left():
    before = len(torch_module._global_forward_hooks)
    yield
    assert len(torch_module._global_forward_hooks) == before


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


def test_validation_and_own_batches_do_not_count(net, train, batch):
    model, scorer = net(), Wanda(accumulate=True)
    look = rule_of(scorer)
    own = Rule(every("1it"), Who(Fisher(), amount=to(0.0), batches=2), Sleep(), name="own")
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    data = [batch(i) for i in range(5, 8)]
    engine = SleepEngine(model, optimizer, [own, look], data=data, loss_fn=nn.MSELoss())
    with engine.attach():
        with torch.no_grad():
            model(100 * torch.ones(8, 5))
        engine.fire(own)
        train(model, optimizer, 1)
    params = {"0.weight": model[0].weight, "2.weight": model[2].weight}
    moment = gather(model, params, InputMoment(), [batch(0)])
    for name, mean in scorer.state_dict()["mean"].items():
        torch.testing.assert_close(mean, moment[name])


def test_the_run_is_the_same_to_the_bit(train, batch):
    """Dropout inside and after an attention, whose last projection is run once more."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
            self.first, self.drop, self.last = nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3)

        def forward(self, x):
            x = self.first(x).unsqueeze(1)
            return self.last(self.drop(self.attention(x, x, x)[0].squeeze(1)))

    found = []
    for scorer in (None, Wanda(accumulate=True)):
        torch.manual_seed(0)
        model = Attends()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        rules = [] if scorer is None else [rule_of(scorer, params="*weight")]
        with SleepEngine(model, optimizer, rules).attach():
            train(model, optimizer, 4)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *found))
    steps = scorer.state_dict()["steps"]
    assert set(steps) == {
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "first.weight",
        "last.weight",
    }


def test_accumulated_batches_are_one_step(net, batch):
    """An Ignite trainer whose optimizer steps at every second iteration."""
    model, scorer = net(), Wanda(accumulate=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)

    def update(trainer, data):
        nn.functional.mse_loss(model(data[0]), data[1]).backward()
        if trainer.state.iteration % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()

    trainer = Engine(update)
    with SleepEngine(model, optimizer, [rule_of(scorer, once("4it"))]).attach(trainer):
        trainer.run([batch(i) for i in range(4)], max_epochs=1)
    twin = net()
    params = {"0.weight": twin[0].weight, "2.weight": twin[2].weight}
    whole = gather(twin, params, InputMoment(), [batch(i) for i in range(4)])
    assert scorer.state_dict()["steps"] == {"0.weight": 2, "2.weight": 2}
    for name, mean in scorer.state_dict()["mean"].items():
        torch.testing.assert_close(mean, whole[name])


def test_a_metric_between_forward_and_backward_loses_nothing(net, batch):
    model, scorer = net(), Wanda(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer), lr=0.0)
    with engine.attach():
        loss = nn.functional.mse_loss(model(batch()[0]), batch()[1])
        engine.metric("loss", loss.item())
        loss.backward()
        optimizer.step()
    assert scorer.state_dict()["steps"] == {"0.weight": 1, "2.weight": 1}


def test_low_precision_passes_are_summed_in_full(net, batch):
    model, scorer = net(), SparseGPT(accumulate=True)
    engine, optimizer = engine_of(model, rule_of(scorer), lr=0.0)
    with engine.attach():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch()[0]).float().square().sum()
        loss.backward()
        optimizer.step()
    x = batch()[0]
    gram = scorer.state_dict()["mean"]["0.weight"][0]
    torch.testing.assert_close(gram, (x.T @ x).double() / len(x))


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
