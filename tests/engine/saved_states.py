"""Rules of a drop and a growth, and the whole state of a run."""

from __future__ import annotations

import copy

from saliency import Gradient, Magnitude
from schedules import every, once
from sleepengine import (
    Rule,
    Sleep,
    Wake,
    Who,
    by,
    to,
)

RIGL = [
    Rule(once("1it"), Who(Magnitude(), amount=to(0.5)), Sleep()),
    Rule(every("2it"), Who(Magnitude(), amount=by(0.3)), Sleep()),
    Rule(every("2it"), Who(Gradient(), amount=to(0.5)), Wake("zero")),
]


def state_of(model, optimizer, engine):
    state = engine.state_dict()
    return copy.deepcopy([model.state_dict(), optimizer.state_dict(), state])


def without(state, *names):
    return [*state[:2], {k: v for k, v in state[2].items() if k not in names}]
