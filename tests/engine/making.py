"""Engines and rules in one line, for what they refuse."""

from __future__ import annotations

from torch import nn, optim

from saliency import Magnitude
from schedules import once
from sleepengine import (
    Rule,
    Sleep,
    SleepEngine,
    Who,
    to,
)

HALF = Who(Magnitude(), amount=to(0.5))


def make(*rules, model=None, **options):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) if model is None else model
    return SleepEngine(model, optim.SGD(model.parameters(), 0.1), rules, **options)


def sleep(when="2it", who=HALF, **how):
    return Rule(once(when), who, Sleep(), **how)
