"""What the networks of a run are made from: the configuration's own parts, or the user's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from schedules import Clock, Time
from sleepengine.errors import SetupError
from sleepengine.pipeline import build, build_masks
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.problems.dataset import Batches, DataSet, Part
from sleepengine.pipeline.problems.loaders import LoaderData, Loaders
from sleepengine.pipeline.problems.questions import asked
from sleepengine.pipeline.training.evaluate import LossFn

ModelGiven = nn.Module | Callable[[Any, int], nn.Module]
OptimizerMaker = Callable[[nn.Module], Optimizer]
SPLIT_SEED = 0


@dataclass(frozen=True)
class Given:
    """What the caller brings along instead of what the configuration names.

    model: a module (copied for every network, so that all seeds start from its weights), or a
        function of (data, seed) that makes one.
    data: a data set in memory, or loaders as one.
    loss_fn: mean loss of (output, target); cross entropy if not given.
    optimizer: a function of the model.
    """

    model: ModelGiven | None = None
    data: DataSet | None = None
    loss_fn: LossFn | None = None
    optimizer: OptimizerMaker | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if isinstance(self.optimizer, Optimizer):
            raise SetupError(
                "optimizer= is bound to one model already, and a run trains several networks; give "
                "a function: optimizer=lambda model: SGD(model.parameters(), lr=0.1)"
            )
        for name, value in (
            ("model", self.model),
            ("loss_fn", self.loss_fn),
            ("optimizer", self.optimizer),
        ):
            if value is not None and not callable(value):
                raise SetupError(f"{name}={value!r} is not a function")
        if self.data is not None and not isinstance(self.data, DataSet):
            raise SetupError(
                f"data= must be a pipeline.Data, found {type(self.data).__name__}; a DataLoader is "
                "given as loader="
            )


def brought(data: Data | None, loader: Iterable[Any] | Loaders | None) -> DataSet | None:
    """The data that the caller gave: a data set in memory, loaders, or none.

    Raises:
        SetupError: both, or a loader that cannot be used.
    """
    if loader is None:
        return data
    if data is not None:
        raise SetupError("data= and loader= were both given; a run has one of them")
    return LoaderData(loader if isinstance(loader, Loaders) else Loaders(loader))


@dataclass(frozen=True)
class Parts:
    """Makes models, optimizers and batches for the networks of one run."""

    config: Config
    data: DataSet
    given: Given

    @classmethod
    def of(cls, config: Config, folder: Path | None, given: Given) -> Parts:
        """Load the data; the split is the same for every seed."""
        data = given.data
        if data is None:
            data = build.dataset(config, folder, SPLIT_SEED)
        if len(data.split(Part.TRAIN)) == 0:
            raise SetupError(f"data {data.name!r}: the training split is empty")
        parts = cls(config, data, given)
        if config.experiment not in ("train", "lottery"):
            data = parts.memory
            if config.mask_training is not None:
                data = asked(data, build_masks.questions(config))
        return cls(config, data, given)

    @property
    def memory(self) -> Data:
        """The data, for an experiment that needs all of it at once.

        Raises:
            SetupError: there are only loaders.
        """
        if not isinstance(self.data, Data):
            raise SetupError(
                f"the experiment {self.config.experiment} needs its data in memory: give "
                "data=Data(...) instead of loader="
            )
        return self.data

    @property
    def loss_fn(self) -> LossFn:
        """The loss of (output, target)."""
        return nn.functional.cross_entropy if self.given.loss_fn is None else self.given.loss_fn

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.batches(0))

    @property
    def total_steps(self) -> int:
        """Steps of a whole training."""
        return self.steps(self.config.train.length, "train.length")

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return self.steps(self.config.train.evaluate, "train.evaluate")

    def steps(self, time: Time, name: str) -> int:
        """A time of the configuration in steps, at least 1."""
        length = None
        if time is not self.config.train.length:
            length = self.total_steps
        return self.steps_of(time, name, self.steps_per_epoch, length)

    @staticmethod
    def steps_of(time: Time, name: str, per_epoch: int, length: int | None = None) -> int:
        """The same for epochs of another length."""
        clock = Clock(0, steps_per_epoch=per_epoch, total_steps=length)
        try:
            steps = time.iterations(clock)
        except ValueError as fault:
            raise SetupError(f"{name}: {fault}") from fault
        if steps < 1:
            raise SetupError(f"{name}: {time} is no step at all")
        return steps

    def batches(self, seed: int) -> Batches:
        """The training batches; their order is a function of (seed, epoch) alone."""
        return self.data.loader(Part.TRAIN, batch_size=self.config.train.batch_size, seed=seed)

    def model(self, seed: int) -> nn.Module:
        """A model whose weights are a function of the seed; the global random state stays."""
        given = self.given.model
        if isinstance(given, nn.Module):
            return copy.deepcopy(given)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if given is None:
                return build.model(self.config, self.data, seed)
            made = given(self.data, seed)
        if not isinstance(made, nn.Module):
            raise SetupError(f"model= gave a {type(made).__name__}, not a torch.nn.Module")
        return made

    @property
    def draws(self) -> bool:
        """Whether another seed gives other weights."""
        return not isinstance(self.given.model, nn.Module)

    def optimizer(self, model: nn.Module) -> Optimizer:
        """An optimizer of the model."""
        if self.given.optimizer is None:
            return build.optimizer(self.config, model)
        made = self.given.optimizer(model)
        if not isinstance(made, Optimizer):
            raise SetupError(f"optimizer= gave a {type(made).__name__}, not an Optimizer")
        return made
