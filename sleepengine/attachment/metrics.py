"""The share of sleeping weights as an Ignite metric, for loggers, Checkpoint and EarlyStopping."""

from __future__ import annotations

from typing import Any

from ignite.metrics import Metric

from sleepengine.engine.sleep_engine import SleepEngine


class Sparsity(Metric):
    """asleep / all, over the engine's scope (or over `layer`), when it is computed.

    Raises:
        UnknownNameError: there is no such layer.

    >>> import torch
    >>> engine = SleepEngine(torch.nn.Linear(2, 2))
    >>> engine.sleep_weights("weight", (0, 1))
    1
    >>> Sparsity(engine).compute()
    0.25
    """

    def __init__(self, engine: SleepEngine, layer: str | None = None) -> None:
        if layer is not None:
            engine.get_sleep_state(layer)  # a name that is wrong is told now
        self._engine = engine
        self._layer = layer
        super().__init__()

    def reset(self) -> None:
        """Nothing is accumulated."""

    def update(self, output: Any) -> None:
        """Nothing is accumulated: masks are the same on every process and for every batch."""

    def compute(self) -> float:
        """The share as it is now."""
        if self._layer is not None:
            return self._engine.get_sleep_state(self._layer).fraction
        return self._engine.fraction()
