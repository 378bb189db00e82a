"""Kept points: what they hold, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Magnitude
from schedules import once
from sleepengine import (
    ResumableSampler,
    Rewind,
    Rule,
    SetupError,
    SleepEngine,
    Wake,
    Who,
    by,
)

PARTS = ("weights", "buffers", "optimizer", "schedule", "data")


class Run:
    """A run whose whole state is kept after every step."""

    def __init__(self, net, words, rules=(), **options):
        self.words = words
        generator = torch.Generator().manual_seed(1)
        self.x, self.y = (torch.randn(40, width, generator=generator) for width in (5, 3))
        self.model = net(norm=True)
        self.optimizer = optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.schedule = optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)
        self.sampler = ResumableSampler(40, batch_size=4, seed=1)
        self.engine = SleepEngine(
            self.model,
            self.optimizer,
            rules,
            scheduler=self.schedule,
            sampler=self.sampler,
            **options,
        ).attach()
        self.history = [self.now()]

    def now(self):
        momenta = {
            name: self.optimizer.state.get(p, {}).get("momentum_buffer")
            for name, p in self.model.named_parameters()
        }
        return {
            "weights": {n: p.detach().clone() for n, p in self.model.named_parameters()},
            "buffers": {n: b.clone() for n, b in self.model.named_buffers()},
            "optimizer": {n: None if m is None else m.clone() for n, m in momenta.items()},
            "schedule": (self.optimizer.param_groups[0]["lr"], self.schedule.last_epoch),
            "data": self.sampler.position,
        }

    def train(self, steps):
        for _, batch in zip(range(steps), self.sampler, strict=False):
            self.optimizer.zero_grad()
            mse_loss(self.model(self.x[batch]), self.y[batch]).backward()
            self.optimizer.step()
            self.schedule.step()
            self.history.append(self.now())

    def rewind(self, **how):
        self.engine.fire(Rule(once("0it"), None, Rewind(**how)))


@pytest.fixture
def start(net, words):
    return lambda *rules, **options: Run(net, words, rules, **options)


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
