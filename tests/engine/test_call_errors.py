"""Calls that cannot work say why, and change nothing."""

from __future__ import annotations

import copy

import pytest
import torch

from saliency import Scorer
from sleepengine import (
    Kept,
    SetupError,
    UnknownNameError,
    Who,
    by,
    to,
    where,
)

from .making import make, sleep

CALLS = {
    "layer": (lambda e: e.sleep_weights("fc"), "there is no layer or parameter 'fc'"),
    "nearest layer": (lambda e: e.wake_weights("2.weigth"), "Did you mean '2.weight'"),
    "position": (lambda e: e.sleep_weights("0", (9, 9)), r"position \(9, 9\) is outside the shape"),
    "shape": (
        lambda e: e.freeze_weights("0", torch.ones(2, 2).bool()),
        r"the mask has shape \(2, 2\), the parameter has \(6, 5\)",
    ),
    "numbers": (lambda e: e.sleep_weights("0", torch.ones(6, 5)), "write `mask != 0` for a mask"),
    "asked position": (lambda e: e.is_sleeping("0", (9, 9)), "outside the shape"),
    "view": (lambda e: e["3"], "there is no layer or parameter '3'"),
    "undo": (lambda e: e.undo(), "there is nothing to undo"),
    "event": (lambda e: e.on("slept", print), "there is no event 'slept'. Valid: 'SLEPT'"),
    "never kept": (
        lambda e: e.wake_weights("0", value=Kept("7it")),
        "nothing was kept at '7it'.*keep=",
    ),
    "value": (lambda e: e.wake_weights("0", value="zeros"), "Did you mean 'zero'"),
    "masks": (lambda e: e.set_masks({"0.weight": torch.ones(6, 5)}), "give a bool tensor"),
    "name of mask": (
        lambda e: e.set_masks({"0.wight": torch.ones(6, 5).bool()}),
        r"Did you mean '0\.weight'",
    ),
    "rule": (lambda e: e.fire("now"), "'now' is not a Rule"),
}


@pytest.mark.parametrize("case", list(CALLS))
def test_calls(case, same):
    engine = make().attach()
    act, message = CALLS[case]
    before = copy.deepcopy(engine.state_dict())
    with pytest.raises(SetupError, match=message):
        act(engine)
    assert same(engine.state_dict(), before)


def test_an_unknown_name_is_an_unknown_name_error():
    with pytest.raises(UnknownNameError):
        make().sleep_weights("fc")


class _Half(Scorer):
    def score(self, signals):
        return {name: w.abs()[:1, :2] for name, w in signals.weights.items()}


class _Some(Scorer):
    def score(self, signals):
        return {}


FIRING = {
    "shape": (
        Who(_Half(), amount=to(0.5)),
        r"gave scores of shape \(1, 2\) for 0\.weight of shape",
    ),
    "missing": (Who(_Some(), amount=to(0.5)), r"gave no scores for \['0\.weight'"),
    "filter": (
        Who(None, amount=by(0.5), where=where(lambda name, shape: torch.ones(2))),
        "give a bool tensor of shape",
    ),
}


@pytest.mark.parametrize("case", list(FIRING))
def test_firing(case, same):
    engine = make().attach()
    before = copy.deepcopy(engine.state_dict())
    who, message = FIRING[case]
    with pytest.raises(ValueError, match=message):
        engine.fire(sleep(who=who))
    assert same(engine.state_dict(), before)
