"""The same run under an engine and by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

from sleepengine import SleepEngine

from .catalogue import Configuration
from .hand import Hand
from .networks import Network


@dataclass(frozen=True)
class Setting:
    """Everything that a sequence of operations needs to be run again."""

    configuration: Configuration
    network: Network
    memory: str = "fast"
    park_state: str = "auto"


class Pair:
    """One model under an engine, and one that is masked by hand."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.network = setting, setting.network
        self.closures = setting.configuration.needs_closure
        self.start(0)
        by_hand = self.network.build(0)
        optimizer = setting.configuration.build(by_hand.parameters())
        self.hand = Hand(by_hand, optimizer, self.schedule(optimizer))
        self.before: dict[str, Any] | None = None  # by hand, before the last transaction
        self.last: Any = None  # masks before the last transaction
        self.saved: Any = None
        self.written = False  # gradients, by the loop, since the last transaction
        self.shrunk = self.refused = 0

    def start(self, seed: int) -> None:
        """A new model, optimizer, schedule and engine."""
        self.model: nn.Module = self.network.build(seed)
        self.optimizer = self.setting.configuration.build(self.model.parameters())
        self.scheduler = self.schedule(self.optimizer)
        self.engine = SleepEngine(
            self.model,
            self.optimizer,
            params="*",
            scheduler=self.scheduler,
            nodes=[self.network.group()],
            keep=("init",),
            check_every=1,
            memory=self.setting.memory,
            park_state=self.setting.park_state,
        ).attach()

    @staticmethod
    def schedule(optimizer: Optimizer) -> LRScheduler:
        return ExponentialLR(optimizer, 0.9)

    def runs(self) -> list[tuple[nn.Module, Optimizer, LRScheduler]]:
        hand = self.hand
        return [
            (self.model, self.optimizer, self.scheduler),
            (hand.model, hand.optimizer, hand.scheduler),
        ]
