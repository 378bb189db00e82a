"""Engines whose one rule probes the model."""

import torch
from torch import nn

from schedules import once
from sleepengine import (
    Rule,
    Sleep,
    SleepEngine,
)


def engine_of(model, who, data=None, what=None, **more):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    rule = Rule(once("0it"), who, what or Sleep(), name="probe")
    return SleepEngine(model, optimizer, [rule], data=data, loss_fn=nn.MSELoss(), **more)
