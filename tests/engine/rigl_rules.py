"""RigL, as tests of loops run it."""

from __future__ import annotations

from saliency import Gradient, Magnitude
from schedules import every, once
from sleepengine import PerTensor, Rule, Sleep, Wake, Who, by, to


def rigl(interval, **how):
    """Start half asleep; every `interval` drop 30 % by magnitude and grow back by gradient."""
    first = Rule(once("0it"), Who(Magnitude(), pools=PerTensor(), amount=to(0.5)), Sleep())
    drop = Rule(
        every(interval), Who(Magnitude(), pools=PerTensor(), amount=by(0.3)), Sleep(), **how
    )
    who = Who(Gradient(), pools=PerTensor(), amount=to(0.5))
    return [first, drop, Rule(every(interval), who, Wake(value="zero"), **how)]
