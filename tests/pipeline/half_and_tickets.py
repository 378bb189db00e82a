"""A run that puts half to sleep, a lottery, and points to train on."""

from __future__ import annotations

import torch

from sleepengine.pipeline.problems.bundle import Data, Scaling, Split

TRAIN = """
name: half
model: {mlp: {sizes: [6]}}
train: {length: 3ep, batch_size: 8, optimizer: {SGD: {lr: 0.2}}}
seeds: [3, 1]
rules:
  - {when: {once: 1ep}, who: {scorer: Magnitude, amount: {to: 0.5}}, what: Sleep}
"""


PLAIN = TRAIN[: TRAIN.index("rules")]


LOTTERY = """
name: tickets
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 2ep, batch_size: 8, optimizer: {Adam: {lr: 0.05}}}
lottery:
  levels: 2
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.5}}, what: Sleep}
    - what: {Rewind: {to: POINT}}
  arms: [ticket, random_reinit, random_mask, dense]
"""


ARMS = ("ticket", "random_reinit", "random_mask")


EARLY, LATE = LOTTERY.replace("POINT", "init"), LOTTERY.replace("POINT", "4it")


EARLY, LATE = LOTTERY.replace("POINT", "init"), LOTTERY.replace("POINT", "4it")


def blobs(valid: int = 15) -> Data:
    """Three classes of points: 40 to train on, some to validate, 15 to test."""
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(70) % 3
    x = torch.randn(70, 4, generator=generator) + 2.0 * torch.eye(3, 4)[y]
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 40), (40, 40 + valid), (55, 70))]
    return Data("blobs", *parts, (4,), 3, Scaling(1.0, 0.0, 1.0))
