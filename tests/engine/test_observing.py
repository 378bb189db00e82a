"""Scorers that observe, filters that remember, and the other signals that rules read."""

from __future__ import annotations

import pytest
from torch import optim

from saliency import Magnitude
from schedules import every, once
from sleepengine import (
    Reset,
    Rule,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    count,
    older_than,
    rate,
    to,
)

from .recording import Recorder, freeze


@pytest.mark.parametrize("needs", [("weights",), ("grads",)], ids=["weights", "grads"])
@pytest.mark.parametrize(
    ("observe", "steps"), [(None, [1, 2, 3, 4, 5, 6]), (every("2it"), [2, 4, 6])]
)
def test_observers_see_every_step_asked_for_once(observe, steps, needs, net, train):
    scorer = Recorder(needs, accumulates=True)
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    rules = [  # two rules with one scorer
        freeze(once("3it"), scorer, observe=observe),
        Rule(once("5it"), Who(scorer, amount=count(1)), Sleep(), observe=observe),
    ]
    SleepEngine(model, optimizer, rules).attach()
    train(model, optimizer, 6)
    assert [signals.step for signals in scorer.observed] == steps
    assert [signals.step for signals in scorer.scored] == [3, 5]


def test_a_step_is_scored_before_it_is_observed(net, train):
    order = []

    class Ordered(Recorder):
        def score(self, signals):
            order.append(("score", signals.step))
            return super().score(signals)

        def observe(self, signals):
            order.append(("observe", signals.step))

    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    SleepEngine(model, optimizer, [freeze(once("2it"), Ordered(accumulates=True))]).attach()
    train(model, optimizer, 2)
    assert order == [("observe", 1), ("score", 2), ("observe", 2)]


def test_observers_see_live_weights_and_masks(row, push):
    scorer = Recorder(("grads",), accumulates=True)
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    engine = SleepEngine(layer, optimizer, [freeze(once("9it"), scorer)]).attach()
    engine.sleep_weights("weight", (0, 1))
    seen = []
    scorer.observe = lambda s: seen.append((s.weights["weight"].tolist(), s.awake, s.grads))
    push(layer, optimizer, 1.0, 5.0, 1.0)
    ((weights, awake, grads),) = seen
    assert weights == [[0.0, 0.0, 2.0]]
    assert awake["weight"].tolist() == [[True, False, True]]
    assert grads["weight"].tolist() == [[1.0, 5.0, 1.0]]


def test_a_restart_forgets_what_was_observed(net, train):
    scorer = Recorder(accumulates=True)
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer, [freeze(once("3it"), scorer)]).attach()
    train(model, optimizer, 2)
    engine.restart()
    assert (engine.time.iteration, scorer.resets) == (0, 1)


def ages(engine, rule):
    """How many weights the rule's filter allows now."""
    (one,) = rule.who.filters
    allowed = one.allows(engine.store, "weight", engine.time.clock())
    return 4 if allowed is None else int(allowed.sum())


def test_ages_count_from_the_start_and_from_waking_whoever_woke(row, push):
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    old = Rule(once("99it"), Who(None, amount=count(1), where=older_than("2it")), Reset("zero"))
    other = Rule(once("4it"), Who(None, amount=to(0.25)), Wake())
    engine = SleepEngine(layer, optimizer, [old, other]).attach()
    engine.sleep_weights("weight", [(0, 0), (0, 1)])
    allowed = []
    for i in range(7):
        allowed.append(ages(engine, old))
        if i == 5:
            engine.wake_weights("weight", (0, 1))  # the one that the rule left asleep
        push(layer, optimizer, *[0.0] * 4)
    # Old enough from step 2 on; at 4 the rule wakes one, at 5 a direct call the other.
    assert allowed == [0, 0, 4, 4, 3, 3, 3]
    assert ages(engine, old) == 4


def test_ages_count_from_a_reset_by_another_rule(row, push):
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    old = Rule(once("99it"), Who(None, amount=count(1), where=older_than("2it")), Reset("zero"))
    other = Rule(once("3it"), Who(Magnitude(), amount=count(3)), Reset("zero"))
    engine = SleepEngine(layer, optimizer, [old, other]).attach()
    allowed = []
    for _ in range(6):
        push(layer, optimizer, *[0.0] * 4)
        allowed.append(ages(engine, old))
    assert allowed == [0, 4, 1, 1, 4, 4]


def test_ages_start_again_with_the_clock(row, push):
    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    old = Rule(once("9it"), Who(None, amount=count(1), where=older_than("2it")), Reset("zero"))
    engine = SleepEngine(layer, optimizer, [old]).attach()
    engine.sleep_weights("weight", (0, 0))
    for _ in range(5):
        push(layer, optimizer, 0.0, 0.0)
    engine.wake_weights("weight")
    engine.restart()
    for _ in range(2):
        push(layer, optimizer, 0.0, 0.0)
    assert ages(engine, old) == 4  # all


def test_a_rate_keeps_its_remainder_between_firings(row, push):
    """0.3 of a weight per step: a whole one at steps 4, 7 and 10."""
    layer = row(*range(1, 11))
    optimizer = optim.SGD(layer.parameters(), 0.0)
    rule = Rule(every("1it"), Who(Magnitude(), amount=rate(0.03)), Reset("zero"))
    engine = SleepEngine(layer, optimizer, [rule]).attach()
    for _ in range(10):
        push(layer, optimizer, *[0.0] * 10)
    assert [record.step for record in engine.journal if record.changed] == [4, 7, 10]


def test_moments_are_those_of_the_optimizer(row, push):
    scorer = Recorder(("moments",))
    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 0.1, momentum=0.5)
    SleepEngine(layer, optimizer, [freeze(once("2it"), scorer)]).attach()
    push(layer, optimizer, 1.0, 2.0)
    push(layer, optimizer, 1.0, 2.0)
    assert scorer.scored[0].moments["weight"].tolist() == [[1.5, 3.0]]


def test_anchors_and_parked_values(row, push):
    scorer = Recorder(("anchor", "parked"))
    scorer.anchor = "1it"
    layer = row(1.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 1.0)
    engine = SleepEngine(layer, optimizer, [freeze(once("3it"), scorer)]).attach()
    push(layer, optimizer, 0.5, 0.5)
    push(layer, optimizer, 0.5, 0.5)
    engine.sleep_weights("weight", (0, 1))
    push(layer, optimizer, 0.5, 0.5)
    (seen,) = scorer.scored
    assert seen.weights["weight"].tolist() == [[-0.5, 0.0]]
    assert seen.anchor["weight"].tolist() == [[0.5, 1.5]]
    assert seen.parked["weight"].tolist() == [[0.0, 1.0]]
