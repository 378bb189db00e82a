"""One network in training: model, optimizer, schedule, data order and sleep engine together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import StateError
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import build
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.dataset import Batch, Batches, Part
from sleepengine.pipeline.training import network_checks, random_state

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
    batches: Batches
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
            "random": random_state.state(),
            "start": self.start,
            "schedule_runs": self.schedule_runs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly there; the engine must not be attached.

        Raises:
            StateError: the state is damaged, or belongs to another model, optimizer or
                configuration; everything is as it was before.
        """
        saved = network_checks.check(self, state)
        before = copy.deepcopy((self.model.state_dict(), self.optimizer.state_dict()))
        schedule = None if self.scheduler is None else copy.deepcopy(self.scheduler.state_dict())
        random = random_state.state()
        try:
            self._load(saved["model"], saved["optimizer"], saved["scheduler"])
            random_state.load(saved["random"])
            self.engine.load_state_dict(saved["engine"])
        except Exception as fault:
            self._load(*before, schedule)
            random_state.load(random)
            if isinstance(fault, StateError):
                raise
            raise StateError(f"the saved network does not fit: {fault!r}") from fault
        self.start, self.schedule_runs = saved["start"], saved["schedule_runs"]

    def _load(self, model: State, optimizer: State, schedule: State | None) -> None:
        self.model.load_state_dict(model)
        # The optimizer would go on in the very tensors that it is given.
        self.optimizer.load_state_dict(copy.deepcopy(optimizer))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(copy.deepcopy(schedule))

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

    def __iter__(self) -> Iterator[Batch]:
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
        example_inputs=parts.data.inputs(Part.TRAIN, 2),
    )
    return Network(model, optimizer, scheduler, per_epoch, batches, engine)


def masks_of(state: Mapping[str, Any], like: MaskStore) -> MaskStore:
    """The masks in a saved network, as a store."""
    return network_checks.masks_in(state["engine"], like)
