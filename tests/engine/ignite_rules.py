"""A rule of every kind, and when rules fired."""

from __future__ import annotations

from saliency import Magnitude
from schedules import once
from sleepengine import (
    Freeze,
    Reset,
    Rewind,
    Rule,
    Sleep,
    Thaw,
    Wake,
    Who,
    count,
)

EVERY_KIND = [
    Rule(once("1it"), Who(Magnitude(), amount=count(4)), Sleep(), name="sleep"),
    Rule(once("2it"), Who(Magnitude(), amount=count(1)), Wake(), name="wake"),
    Rule(once("3it"), Who(Magnitude(), amount=count(2)), Freeze(), name="freeze"),
    Rule(once("4it"), Who(Magnitude(), amount=count(1)), Thaw(), name="thaw"),
    Rule(once("5it"), Who(Magnitude(), amount=count(2)), Reset(), name="reset"),
    Rule(once("6it"), None, Rewind(to="2it"), name="rewind"),
]


def steps_and_counts(engine):
    return [(record.step, record.changed) for record in engine.journal]
