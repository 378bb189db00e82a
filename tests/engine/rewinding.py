"""A run whose whole state is kept after every step."""

from __future__ import annotations

import torch
from torch import optim
from torch.nn.functional import mse_loss

from schedules import once
from sleepengine import (
    ResumableSampler,
    Rewind,
    Rule,
    SleepEngine,
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
