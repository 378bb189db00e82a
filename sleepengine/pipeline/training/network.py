"""One network in training: model, optimizer, schedule, data order and sleep engine together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import StateError
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import build
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.bundle import TensorBatches

State = dict[str, Any]


@dataclass
class Network:
    """Everything that training changes, and its whole state as plain values and tensors.

    start: the step at which training begins; not 0 after a rewind to a later point.
    schedule_runs: False when a level goes on with the learning rate at which the last one ended.
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: Any | None
    per_epoch: bool
    batches: TensorBatches
    engine: SleepEngine
    start: int = 0
    schedule_runs: bool = True

    def state_dict(self) -> State:
        """All of it; the random state of the process too, for models that draw (dropout)."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "engine": self.engine.state_dict(),
            "random": torch.get_rng_state(),
            "start": self.start,
            "schedule_runs": self.schedule_runs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly there; the engine must not be attached.

        Raises:
            StateError: the state belongs to another model, optimizer or configuration.
        """
        if (state["scheduler"] is None) != (self.scheduler is None):
            raise StateError("the saved network has another LR schedule than the configuration")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError) as fault:
            raise StateError(f"the saved network does not fit: {fault}") from fault
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.engine.load_state_dict(state["engine"])
        torch.set_rng_state(state["random"])
        self.start, self.schedule_runs = state["start"], state["schedule_runs"]

    @property
    def maskable(self) -> int:
        """Weights that may sleep."""
        return sum(self.engine.store.numel(name) for name in self.engine.scope)

    @property
    def awake_count(self) -> int:
        """Those of them that are awake."""
        store = self.engine.store
        return self.maskable - sum(store.asleep_count(name) for name in self.engine.scope)

    def awake_shares(self) -> dict[str, float]:
        """Awake share of each tensor in scope."""
        store = self.engine.store
        return {name: 1.0 - store.fraction(name) for name in self.engine.scope}


@dataclass(frozen=True)
class FromTheStart:
    """The batches of the first epoch each time it is asked, for rules with batches of their own.

    Without a position, so that a resumed run gathers the same.
    """

    parts: Parts
    seed: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """From the first batch on."""
        return iter(self.parts.batches(self.seed))


def make(parts: Parts, seed: int, *, weights: int | None = None) -> Network:
    """A new network. `weights`: another seed for the model than for the data order."""
    model = parts.model(seed if weights is None else weights)
    optimizer = parts.optimizer(model)
    found = build.lr_schedule(parts.config, optimizer, parts.steps_per_epoch, parts.total_steps)
    scheduler, per_epoch = (None, False) if found is None else found
    batches = parts.batches(seed)
    engine = build.engine(
        parts.config,
        model,
        optimizer,
        scheduler=scheduler,
        sampler=batches.sampler,
        data=FromTheStart(parts, seed),
        loss_fn=parts.loss_fn,
        seed=seed,
        example_inputs=parts.data.train.x[:2],
    )
    return Network(model, optimizer, scheduler, per_epoch, batches, engine)


def masks_of(state: Mapping[str, Any], like: MaskStore) -> MaskStore:
    """The masks in a saved network, as a store."""
    store = like.fork()
    store.load_state_dict(state["engine"]["masks"])
    return store
