"""Kept points: what they hold, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from saliency import Magnitude
from schedules import once
from sleepengine import (
    Rewind,
    Rule,
    SetupError,
    SleepEngine,
    Wake,
    Who,
    by,
)

from .rewinding import PARTS


def test_the_kept_point_is_not_written_into(start, difference):
    run = start(keep=("init", "1it"))
    run.train(2)
    kept = run.engine.live.kept.state_dict()
    copy = {tag: {n: t.clone() for n, t in kept[tag]["weights"].items()} for tag in kept}
    for to in ("1it", "init", "1it"):
        run.rewind(to=to)
        run.train(3)
    again = run.engine.live.kept.state_dict()
    assert difference({tag: again[tag]["weights"] for tag in again}, copy) == ""


def test_points_are_kept_as_long_as_asleep_values_are_parked(row, push):
    """A point kept while a weight sleeps holds its parked value."""
    layer = row(4.0, 1.0)
    optimizer = optim.SGD(layer.parameters(), 0.5)
    engine = SleepEngine(layer, optimizer, keep=("1it",))
    engine.sleep_weights("weight", (0, 0))
    engine.attach()
    push(layer, optimizer, 1.0, 1.0)
    push(layer, optimizer, 1.0, 1.0)
    engine.wake_weights("weight")
    engine.fire(Rule(once("0it"), None, Rewind(to="1it")))
    assert layer.weight.tolist() == [[4.0, 0.5]]


@pytest.mark.parametrize("part", ["buffers", "optimizer", "schedule"])
def test_a_point_that_was_kept_for_values_alone_lacks_the_rest(part, start):
    rule = Rule(once("9it"), Who(Magnitude(), amount=by(0.1)), Wake("original"))
    run = start(rule)
    run.train(2)
    how = {one: one == part for one in PARTS}
    with pytest.raises(SetupError, match=f"{part} not kept at 'init'; name it in keep="):
        run.rewind(to="init", **how)


def test_a_schedule_that_is_not_given_is_asked_for(net):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)
    optim.lr_scheduler.StepLR(optimizer, 3)
    rule = Rule(once("2it"), None, Rewind(to="init"))
    with pytest.raises(SetupError, match="give scheduler=, or schedule=False"):
        SleepEngine(model, optimizer, [rule])
    SleepEngine(model, optimizer, [Rule(once("2it"), None, Rewind(schedule=False))])


def test_without_a_reset_fresh_is_refused_at_construction():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

    rule = Rule(once("2it"), None, Rewind(to="fresh"))
    with pytest.raises(SetupError, match=r"Own has no reset_parameters\(\); give initialisers="):
        SleepEngine(Own(), None, [rule], params="weight")
    SleepEngine(Own(), None, [rule], params="weight", initialisers={"*": nn.init.zeros_})
