"""A run whose learning rate is halved after each epoch."""

from __future__ import annotations

import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from schedules import once
from sleepengine import Rewind, Rule, SleepEngine

REWIND = Rule(once("99it"), None, Rewind("4it"))


class Run:
    """Epochs of four steps; the rate is halved after each. `rates` are those of the steps."""

    def __init__(self, *rules, **options):
        torch.manual_seed(0)
        self.model = nn.Linear(3, 2)
        self.optimizer = optim.SGD(self.model.parameters(), 0.1, momentum=0.9)
        self.scheduler = optim.lr_scheduler.StepLR(self.optimizer, 4, 0.5)
        options = {"keep": ["4it"], **options}
        self.engine = SleepEngine(
            self.model, self.optimizer, rules, scheduler=self.scheduler, **options
        )
        self.batches = torch.randn(4, 5, 3), torch.randn(4, 5, 2)
        self.rates, self.weights = [], []

    def backward(self, i):
        self.optimizer.zero_grad()
        x, y = (one[i % 4] for one in self.batches)
        mse_loss(self.model(x), y).backward()

    def step(self, i):
        self.backward(i)
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        self.weights.append(self.model.weight.detach().clone())

    def plain(self, steps, first=0, before=None):
        for i in range(first, first + steps):
            if before is not None and i == before[0]:
                before[1]()
            self.step(i)
            if i % 4 == 3:
                self.model(self.batches[0][0])  # an evaluation
            self.scheduler.step()


def epochs(run):
    """The rate of the first step of each epoch, in units of the first."""
    return [round(rate / 0.1, 4) for rate in run.rates[::4]]
