"""Gradients that a closure makes inside the step count as if they had come before it."""

from __future__ import annotations

import pytest
import torch
from torch import optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude, Movement, Scorer, Snip
from schedules import every, once
from sleepengine import Freeze, Rule, SetupError, Sleep, SleepEngine, Wake, Who, by, to

SNIP = Rule(once("0it"), Who(Snip(), amount=to(0.5)), Sleep())


class Seen(Scorer):
    """|w|, and the gradients that it was shown."""

    needs = frozenset({"grads"})

    def __init__(self):
        self.grads = []

    def score(self, signals):
        self.grads.append(signals.grads["weight"].tolist())
        return {name: w.abs() for name, w in signals.weights.items()}


def closure_of(optimizer, model, x, y, none=True):
    def closure():
        optimizer.zero_grad(set_to_none=none)
        loss = mse_loss(model(x), y)
        loss.backward()
        return loss

    return closure


@pytest.fixture
def runs(net, batch, same):
    """The same rules in a loop with backward and step, and in one with a closure."""

    def compare(rules, make=None, steps=6, none=True):
        results = []
        for closed in (False, True):
            model = net()
            make = make or (lambda p: optim.SGD(p, 0.1, momentum=0.9))
            optimizer = make(model.parameters())
            engine = SleepEngine(model, optimizer, rules()).attach()
            for i in range(steps):
                closure = closure_of(optimizer, model, *batch(i), none)
                if closed:
                    assert isinstance(optimizer.step(closure).item(), float)
                else:
                    closure()
                    optimizer.step()
            masks = {n: engine.store.asleep_bits(n) for n in engine.store.entries()}
            journal = [(r.step, r.changed) for r in engine.journal]
            results.append([model.state_dict(), optimizer.state_dict(), masks, journal])
        assert results[0][3]
        assert same(*results)
        return results[1]

    return compare


RULES = {
    "snip at the start": lambda: [SNIP],
    "before": lambda: [
        Rule(every("2it"), Who(Gradient(), amount=by(0.2)), Sleep(), at="before_step")
    ],
    "without gradients": lambda: [
        Rule(every("2it"), Who(Magnitude(), amount=by(0.2)), Sleep(), at="before_step")
    ],
    "instead": lambda: [
        Rule(every("2it"), Who(Magnitude(), amount=by(0.3)), Sleep(), skip_step=True),
        Rule(every("2it"), Who(Gradient(), amount=to(0.1)), Wake("zero"), skip_step=True),
    ],
    "after": lambda: [Rule(every("2it"), Who(Gradient(), amount=by(0.2)), Sleep())],
    "observing": lambda: [Rule(once("4it"), Who(Movement(), amount=by(0.2)), Sleep())],
}


@pytest.mark.parametrize("none", [True, False], ids=["to none", "to zero"])
@pytest.mark.parametrize("name", list(RULES))
def test_a_closure_is_bit_for_bit_a_backward_before_the_step(name, none, runs):
    runs(RULES[name], none=none)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.AdamW(p, 0.01, foreach=True),
        lambda p: optim.Adam(p, 0.01, fused=True),
        lambda p: optim.Rprop(p, 0.01),
        lambda p: optim.Adagrad(p, 0.01),
    ],
    ids=["foreach", "fused", "rprop", "adagrad"],
)
def test_whatever_the_optimizer(make, runs):
    runs(RULES["snip at the start"], make)
    runs(RULES["instead"], make)


def test_snip_at_the_start_acts_before_the_first_step(row):
    """|w g| is 2, 6, 3, 4: the first and the third sleep, and only the others are stepped."""
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    engine = SleepEngine(layer, optimizer, [SNIP]).attach()

    def closure():
        optimizer.zero_grad()
        loss = layer(torch.tensor([[2.0, 3.0, 1.0, 1.0]])).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 15.0  # of the network before
    assert layer.weight.tolist() == [[0.0, -1.0, 0.0, 3.0]]
    assert [record.step for record in engine.journal] == [0]


def test_a_rule_before_the_step_reads_the_gradient_of_this_step(row):
    scorer = Seen()
    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    rule = Rule(every("1it"), Who(scorer, amount=by(0.0)), Freeze(), at="before_step")
    SleepEngine(layer, optimizer, [rule]).attach()
    for i in range(3):

        def closure(i=i):
            optimizer.zero_grad()
            layer(torch.tensor([[1.0 + i, 10.0]])).sum().backward()
            return torch.zeros(())

        optimizer.step(closure)
    assert scorer.grads == [[[2.0, 10.0]], [[3.0, 10.0]]]


class SAM(optim.SGD):
    """Sharpness-aware: the gradients of the step are there; the closure is for a second point."""

    def step(self, closure=None):
        params = [p for group in self.param_groups for p in group["params"]]
        moves = [p.grad.clone() for p in params]
        with torch.no_grad():
            for p, move in zip(params, moves, strict=True):
                p.add_(move)
        closure()
        with torch.no_grad():
            for p, move in zip(params, moves, strict=True):
                p.sub_(move).sub_(p.grad, alpha=self.param_groups[0]["lr"])


@pytest.mark.filterwarnings("ignore:SAM is not one of:UserWarning")
def test_gradients_that_are_there_need_no_waiting(row):
    """A rule acts on the weights of the network, not on those of the second point."""
    scorer, seen = Seen(), []
    scorer.score = lambda s: (
        seen.append(s.weights["weight"].tolist()) or {n: w.abs() for n, w in s.weights.items()}
    )
    layer = row(1.0, 2.0)
    optimizer = SAM(layer.parameters(), 0.5)
    rule = Rule(every("1it"), Who(scorer, amount=by(0.0)), Freeze(), at="before_step")
    SleepEngine(layer, optimizer, [rule]).attach()

    def closure():
        optimizer.zero_grad()
        layer(torch.ones(1, 2)).sum().backward()

    for _ in range(3):
        closure()
        optimizer.step(closure)
    assert seen == [[[0.5, 1.5]], [[0.0, 1.0]]]


HISTORY = pytest.mark.filterwarnings("ignore:LBFGS keeps one history:UserWarning")


@HISTORY
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_starts_again_with_the_network_that_is_left(search, net, batch):
    """What falls asleep inside its first step is as if it had slept before it."""

    def trained(engine_of):
        model = net()
        optimizer = optim.LBFGS(model.parameters(), 0.1, max_iter=5, line_search_fn=search)
        engine_of(model, optimizer)
        closure = closure_of(optimizer, model, *batch(0))
        optimizer.step(closure)
        optimizer.step(closure)
        return model, optimizer

    found = {}

    def by_rule(model, optimizer):
        found["engine"] = SleepEngine(model, optimizer, [SNIP]).attach()

    def by_hand(model, optimizer):
        engine = SleepEngine(model, optimizer).attach()
        engine.set_masks(found["engine"].store)

    first, left = trained(by_rule)
    assert found["engine"].store.asleep_count() == 24
    again, right = trained(by_hand)
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    mine, theirs = (next(iter(o.state.values())) for o in (left, right))
    assert (mine["n_iter"], mine["func_evals"]) == (theirs["n_iter"], theirs["func_evals"])


@HISTORY
def test_lbfgs_forgets_when_a_rule_acts_in_the_middle_of_a_run(net, batch):
    model = net()
    optimizer = optim.LBFGS(model.parameters(), 0.1, max_iter=4)
    rule = Rule(once("2it"), Who(Gradient(), amount=by(0.5)), Sleep(), at="before_step")
    engine = SleepEngine(model, optimizer, [rule], check_every=1).attach()
    lengths = []
    for i in range(4):
        optimizer.step(closure_of(optimizer, model, *batch(i)))
        lengths.append(next(iter(optimizer.state.values()))["n_iter"])
    assert lengths == [4, 8, 4, 8]
    assert engine.store.asleep_count() == 24
    assert int(model[0].weight.count_nonzero() + model[2].weight.count_nonzero()) == 24


def test_lbfgs_cannot_skip_a_step_and_says_so_at_once(net):
    model = net()
    rule = Rule(once("2it"), Who(Magnitude(), amount=by(0.5)), Sleep(), skip_step=True)
    with pytest.raises(SetupError, match=r"skip_step.*LBFGS"):
        SleepEngine(model, optim.LBFGS(model.parameters()), [rule])
