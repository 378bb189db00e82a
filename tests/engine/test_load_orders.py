"""Whatever the order of loading and attaching: a run goes on bit for bit, or an error says how."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import optim

from saliency import Magnitude, Random
from schedules import every, once
from sleepengine import Reset, Rule, Sleep, SleepEngine, StateError, Wake, Who, by, count, to

SET = [
    Rule(once("0it"), Who(Magnitude(), amount=to(0.5)), Sleep()),
    Rule(every("3it"), Who(Magnitude(), amount=by(0.3)), Sleep()),
    Rule(every("3it"), Who(Random(), amount=to(0.5)), Wake("zero")),
]
LATER = SET[1:]
RESET = [Rule(once("0it"), Who(Magnitude(), amount=count(9)), Reset("zero"))]
ORDERS = ["".join(order) for order in itertools.permutations("moea")]


@pytest.fixture
def session(net, train):
    """Model, optimizer, engine; of a run of 7 steps what was saved; and how it ended after 12."""

    def build(rules):
        def new():
            model = net()
            optimizer = optim.AdamW(model.parameters(), 0.01)
            return {"m": model, "o": optimizer, "e": SleepEngine(model, optimizer, rules)}

        whole = new()
        whole["e"].attach()
        train(whole["m"], whole["o"], 7)
        saved = {key: copy.deepcopy(one.state_dict()) for key, one in whole.items()}
        train(whole["m"], whole["o"], 5, first=7)
        return new, saved, {key: one.state_dict() for key, one in whole.items()}

    return build


def load(things, saved, order):
    for key in order:
        if key == "a":
            things["e"].attach()
        else:
            things[key].load_state_dict(copy.deepcopy(saved[key]))


@pytest.mark.parametrize("rules", [SET, LATER, RESET], ids=["masks", "none", "values"])
def test_every_order_is_exact_or_refused(rules, session, train, difference):
    new, saved, end = session(rules)
    exact = []
    for order in ORDERS:
        things = new()
        try:
            load(things, saved, order)
        except StateError:
            continue
        train(things["m"], things["o"], 5, first=7)
        for key, one in things.items():
            assert difference(one.state_dict(), end[key]) == "", (order, key)
        exact.append(order)
    # The engine before attach, or after model and optimizer which came after attach.
    assert {o for o in ORDERS if o.index("e") < o.index("a")} <= set(exact)
    assert {"amoe", "aome"} <= set(exact)
    if rules is LATER:
        assert exact == ORDERS
    else:
        assert not {"maoe", "moae", "aemo"} & set(exact)


@pytest.mark.parametrize("order", ["".join(o) for o in itertools.permutations("moe")])
def test_after_a_step_any_order_is_exact(order, session, train, difference):
    new, saved, end = session(SET)
    things = new()
    things["e"].attach()
    train(things["m"], things["o"], 4, first=20)
    load(things, saved, order)
    train(things["m"], things["o"], 5, first=7)
    for key, one in things.items():
        assert difference(one.state_dict(), end[key]) == "", key


@pytest.mark.parametrize("order", ["moae", "maoe", "eamo", "moea"])
def test_an_engine_that_was_detached_in_between(order, session, train, difference):
    """Its masks are in force again at attach: they clear what they find."""
    new, saved, end = session(SET)
    things = new()
    with things["e"].attach():
        train(things["m"], things["o"], 4, first=20)
    if order in ("moae", "maoe"):
        with pytest.raises(
            StateError, match=r"load_state_dict\(\) before attach\(\), or after it first"
        ):
            load(things, saved, order)
        return
    load(things, saved, order)
    train(things["m"], things["o"], 5, first=7)
    for key, one in things.items():
        assert difference(one.state_dict(), end[key]) == "", key


def test_nothing_is_left_on_the_optimizer(session):
    new, _, _ = session(SET)
    things = new()
    hooks = things["o"]._optimizer_load_state_dict_post_hooks
    assert not hooks
    things["e"].attach()
    assert hooks
    things["e"].detach()
    assert not hooks
    assert torch.is_tensor(things["m"][0].weight)
