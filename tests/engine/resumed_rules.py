"""Rules of every kind that a saved run must go on with."""

from __future__ import annotations

import torch

from saliency import Gradient, Magnitude, Movement, Random, Smoothed
from schedules import at, every, linear, once, plateau
from sleepengine import (
    Freeze,
    PerTensor,
    Reset,
    Rewind,
    Rule,
    Sleep,
    Wake,
    Who,
    by,
    count,
    older_than,
    rate,
    to,
)


def rigl(**how):
    who = Who(Gradient(), pools=PerTensor(), amount=to(0.5))
    return [
        Rule(once("0it"), Who(Random(), pools=PerTensor(), amount=to(0.5)), Sleep()),
        Rule(every("3it"), Who(Magnitude(), pools=PerTensor(), amount=by(0.3)), Sleep(), **how),
        Rule(every("3it"), who, Wake(value="zero"), **how),
    ]


def gradual():
    curve = to(linear(0.1, 0.7))
    return [
        Rule(every("2it", after="2it", before="10it"), Who(Magnitude(), amount=curve), Sleep()),
        Rule(once("11it"), Who(Random(), amount=to(0.4)), Wake("fresh", "zero")),
    ]


def with_memory():
    """Rules that remember: a rate's remainder, sums and means, ages, a plateau."""
    old = older_than("3it")
    return [
        Rule(every("1it"), Who(Magnitude(), amount=rate(0.013), params="2"), Sleep()),
        Rule(every("4it"), Who(Movement(), amount=count(3), params="0"), Sleep()),
        Rule(every("5it"), Who(Smoothed(Magnitude()), amount=count(2), where=old), Reset("fresh")),
        Rule(plateau("loss", patience=2), Who(Smoothed(Gradient()), amount=count(2)), Freeze()),
        Rule(every("3it"), Who(Random(), amount=to(0.02)), Wake(value="fresh")),
    ]


def ticket():
    return [
        Rule(at("4it", "9it"), Who(Magnitude(), amount=by(0.2)), Sleep()),
        Rule(once("4it"), None, Rewind(to="2it")),
        Rule(once("9it"), None, Rewind(to="init", optimizer=False, schedule=False)),
    ]


RULES = {
    "rigl": rigl,
    "rigl before": lambda: rigl(at="before_step"),
    "rigl skip": lambda: rigl(skip_step=True),
    "gradual": gradual,
    "memory": with_memory,
    "ticket": ticket,
}


def cloned(state):
    if isinstance(state, dict):
        return {key: cloned(value) for key, value in state.items()}
    return state.clone() if torch.is_tensor(state) else state
