"""A saved engine that does not fit is refused, and nothing is changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from saliency import Gradient, Magnitude
from schedules import every, plateau
from sleepengine import (
    Rule,
    Sleep,
    StateError,
    Wake,
    Who,
    rate,
    to,
)

from .making import HALF, make, sleep


def remembering():
    return [
        sleep("1it", Who(Gradient(), amount=to(0.25))),
        Rule(every("1it"), Who(Magnitude(), amount=rate(0.02), params="0"), Sleep()),
        Rule(plateau("loss", 2), HALF, Wake("original")),
    ]


def damaged():
    """What can be wrong with a saved engine: a change of the state, and the message."""
    bits = ("masks", "masks", "asleep", "weights", "0.weight")
    return {
        "no dict": (lambda s: [1], "must be a dict, got list"),
        "missing": (lambda s: s.pop("clock"), r"lacks \['clock'\]"),
        "unknown": (lambda s: s.update(extra=1), r"unknown \['extra'\]"),
        "format": (lambda s: s.update(format=99), "has format 99"),
        "rules": (lambda s: s["rules"].__setitem__(0, "other"), "had other rules: saved 'other'"),
        "fewer rules": (lambda s: s["rules"].pop(), "their number differs"),
        "bits": (lambda s: _at(s, *bits)["bits"].add_(1), "0.weight"),
        "count": (lambda s: _at(s, *bits).update(count=3), "0.weight"),
        "length": (lambda s: _at(s, *bits).update(bits=torch.zeros(1).byte()), "0.weight"),
        "name": (
            lambda s: _at(s, *bits[:-1]).update({"0.wight": _at(s, *bits)}),
            "Did you mean '0.weight'",
        ),
        "parked": (lambda s: s["parked"].pop("0.weight"), "'0.weight' have no parked value"),
        "too many parked": (
            lambda s: s["parked"].update({"2.bias": _all_parked(3)}),
            "'2.bias' are parked where nothing sleeps",
        ),
        "frozen": (lambda s: s["frozen"]["frozen_values"].clear(), "frozen_values are of"),
        "clock": (lambda s: s["clock"].pop("metrics"), "saved clock has fields"),
        "clock's number": (lambda s: s["clock"].update(iteration="x"), "damaged.*invalid literal"),
        "metrics": (lambda s: s["clock"].update(metrics={"loss": [1]}), "damaged"),
        "steps": (
            lambda s: s["optimizer_state"].update(steps_since_fill=[-1]),
            "non-negative ints",
        ),
        "waiting": (lambda s: s["waiting"].append("nobody"), r"unknown rules \['nobody'\]"),
        "carries": (lambda s: s["carries"].update(x="much"), "damaged.*could not convert"),
        "memories": (lambda s: s["memories"].pop("Wake-Magnitude"), "memories are of"),
        "scorer": (
            lambda s: s["memories"]["Wake-Magnitude"].update(scorer={"sum": 1}),
            "damaged.*keeps no state",
        ),
        "filters": (lambda s: s["memories"]["Wake-Magnitude"].update(filters=[{}]), "damaged"),
        "kept point": (
            lambda s: s["kept_points"]["init"]["weights"].update({"0.weight": torch.ones(2)}),
            r"kept point 'init': 0\.weight has shape \(2,\), model: \(6, 5\)",
        ),
        "happened": (lambda s: s["happened"].clear(), "damaged"),
        "journal": (lambda s: s["journal"].clear(), ""),
        "seed": (lambda s: s.update(seed=None), "damaged"),
    }


def _at(state, *path):
    for key in path:
        state = state[key]
    return state


def _all_parked(n):
    mask = {"bits": torch.tensor([2**n - 1], dtype=torch.uint8), "count": n}
    return {"shape": [n], "dtype": "torch.float32", "mask": mask, "values": torch.ones(n)}


@pytest.fixture(scope="module")
def saved():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine = make(*remembering()).attach()
        (optimizer,) = engine.live.optimizers
        for i in range(3):
            optimizer.zero_grad()
            engine.model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
            engine.metric("loss", 1.0 + i)
        engine.freeze_weights("2", (0, slice(None)))
    return engine.state_dict()


@pytest.mark.parametrize("case", list(damaged()))
def test_a_state_that_does_not_fit_changes_nothing(case, saved, same):
    engine = make(*remembering()).attach()
    (optimizer,) = engine.live.optimizers
    engine.model(torch.randn(4, 5)).square().sum().backward()
    optimizer.step()

    def everything():
        parts = [engine.state_dict(), engine.model.state_dict(), optimizer.state_dict()]
        return copy.deepcopy([*parts, engine.model[0].weight.grad])

    before = everything()
    change, message = damaged()[case]
    state = copy.deepcopy(saved)
    changed = change(state)
    with pytest.raises(StateError, match=f"(?s){message}"):
        engine.load_state_dict(changed if case == "no dict" else state)
    assert same(everything(), before)
    engine.load_state_dict(copy.deepcopy(saved))
    assert same(engine.state_dict(), saved)


def test_a_state_of_another_model(saved):
    other = make(*remembering(), model=nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)))
    with pytest.raises(StateError, match=r"0\.weight"):
        other.load_state_dict(saved)
