"""Engines with one rule that looks at forward passes."""

from __future__ import annotations

import torch

from schedules import once
from sleepengine import (
    Rule,
    Sleep,
    SleepEngine,
    Who,
    to,
)

NEVER = once("999it")


def rule_of(scorer, when=NEVER, observe=None, batches=None, what=None, **more):
    who = Who(scorer, amount=to(0.5), batches=batches, **more)
    return Rule(when, who, what or Sleep(), observe=observe, name="look")


def engine_of(model, rule, lr=0.1, **more):
    optimizer = torch.optim.SGD(model.parameters(), lr)
    return SleepEngine(model, optimizer, [rule], **more), optimizer
