"""Rules with random scores draw independently of each other, and the same in every run."""

from __future__ import annotations

import torch
from torch import nn, optim

from saliency import Random
from schedules import once
from sleepengine import Freeze, Rule, Sleep, SleepEngine, Who, by, to


def drawn(*names, seed=0):
    """Half asleep by one rule and, of all, half frozen by another, at one step."""
    model = nn.Linear(128, 128, bias=False)
    sleep = Rule(once("0it"), Who(Random(), amount=to(0.5)), Sleep(), name=names[0])
    freeze = Rule(once("0it"), Who(Random(), amount=by(0.5)), Freeze(), name=names[1])
    found = []
    for rules in ([sleep], [freeze]):
        engine = SleepEngine(model, optim.SGD(model.parameters(), 0.1), rules, seed=seed)
        with engine.attach():
            state = engine.get_sleep_state("weight")
            found.append(state.frozen if state.frozen.any() else ~state.awake)
        engine.detach(wake=True)
    return found


def test_two_rules_take_what_chance_says():
    asleep, frozen = drawn("", "")
    both = int((asleep & frozen).sum())
    assert int(asleep.sum()) == int(frozen.sum()) == 8192
    assert abs(both - 4096) < 4 * 32  # of 16,384 entries: a standard deviation of 32


def test_a_rule_draws_the_same_in_every_engine_whatever_stands_beside_it():
    one, again, other = drawn("a", "a"), drawn("a", "b"), drawn("a", "a", seed=1)
    assert torch.equal(one[0], one[1])  # the same name, seed and step
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], again[1])
    assert not torch.equal(one[0], other[0])


def test_rules_of_one_engine_are_told_apart_without_names():
    layer = nn.Linear(64, 64, bias=False)
    rules = [Rule(once("0it"), Who(Random(), amount=by(0.25)), Freeze()) for _ in range(2)]
    with SleepEngine(layer, None, rules).attach() as engine:
        names = [record.rule for record in engine.journal]
        assert names == ["Freeze-Random", "Freeze-Random-2"]
