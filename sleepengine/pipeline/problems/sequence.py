"""Tasks of a few classes each, trained one after another in one network."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sleepengine.errors import SetupError
from sleepengine.learned.frozen import scope
from sleepengine.names import named_parameters
from sleepengine.pipeline import build_masks
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.experiments.stages import Desk
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.problems.bundle import Data, Part, Split
from sleepengine.pipeline.training.evaluate import evaluate
from sleepengine.pipeline.training.learning import Masks, batches_of, result


class OneTask(nn.Module):
    """The outputs of a model for the classes of one task."""

    def __init__(self, model: nn.Module, own: slice) -> None:
        super().__init__()
        self.model, self.own = model, own

    def forward(self, x: Tensor) -> Tensor:
        """(samples, classes of the task)."""
        outputs: Tensor = self.model(x)[:, self.own]
        return outputs


@dataclass(frozen=True)
class Then:
    """How a task stood when it had just been learned: accuracy, and all outputs on test data."""

    accuracy: float | None
    outputs: Tensor
    steps: int
    seconds: float


@dataclass
class Tasks:
    """A network, and the tasks that it learns in turn.

    body: weights that masks may put to sleep. head: the last layer, a row per class. others:
    parameters that belong to no task, which all share.
    """

    desk: Desk
    model: nn.Module
    optimizer: Optimizer
    classes: tuple[slice, ...]
    body: tuple[str, ...]
    head: tuple[str, ...]
    others: tuple[str, ...]
    settled: bool = False  # statistics of the data are those of the first task from then on
    _clock: dict[int, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, desk: Desk) -> Tasks:
        """A new network for the tasks of this run."""
        parts = desk.parts
        model = parts.model(desk.job.seed)
        head = head_of(model, parts.memory.classes)
        body = tuple(n for n in scope(model, parts.config.engine.params) if n not in head)
        others = tuple(n for n in named_parameters(model) if n not in (*body, *head))
        size = build_masks.task_masks(parts.config).classes
        starts = range(0, parts.memory.classes, size)
        classes = tuple(slice(one, min(one + size, parts.memory.classes)) for one in starts)
        return cls(desk, model, parts.optimizer(model), classes, body, head, others)

    def data(self, level: int) -> Data:
        """The samples of one task, its classes counted from 0."""
        data, own = self.desk.parts.memory, self.classes[level]
        train, valid, test = (_only(data.split(part), own) for part in Part)
        return replace(data, train=train, valid=valid, test=test, classes=own.stop - own.start)

    def train(self, level: int, *, again: bool, awake: Mapping[str, float]) -> None:
        """Train one task, before or after its small weights fell asleep; `awake`: each layer."""
        began, parts, data = time.perf_counter(), self.desk.parts, self.data(level)
        config, job = parts.config, Job(self.desk.job.arm, self.desk.job.seed, level)
        order = job.seed_of("again" if again else "batches")
        batches = batches_of(data.train, config.train.batch_size, order)
        retrain = build_masks.task_masks(config).retrain
        length, name = (
            (retrain, "task_masks.retrain") if again else (config.train.length, "train.length")
        )
        steps = parts.steps_of(length, name, len(batches))
        every = parts.steps_of(config.train.evaluate, "train.evaluate", len(batches), steps)
        before, spent = self._clock.get(level, (0, 0.0))
        view, step, losses = OneTask(self.model, self.classes[level]), 0, []
        self._train_mode()
        while step < steps:
            for x, y in batches:
                self.optimizer.zero_grad()
                loss = parts.loss_fn(view(x), y)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.item())
                step += 1
                if step % every == 0 or step == steps:
                    score = evaluate(view, data.split(Part.VALID), parts.loss_fn)
                    mean = sum(losses) / len(losses)
                    share = self._share(awake)
                    self.desk.curve(job, before + step, len(batches), mean, score, share, awake)
                    losses.clear()
                self.desk.pulse()
                if step == steps:
                    break
        self._clock[level] = (before + steps, spent + time.perf_counter() - began)

    def look(self, level: int) -> Then:
        """The task as it stands now."""
        accuracy = evaluate(
            OneTask(self.model, self.classes[level]),
            self.data(level).split(Part.TEST),
            self.desk.parts.loss_fn,
        ).accuracy
        return Then(accuracy, self._outputs(level), *self._clock[level])

    def row(self, level: int, then: Then, masks: Masks) -> Outcome:
        """The task in the end, against then; the model has these masks already."""
        job = Job(self.desk.job.arm, self.desk.job.seed, level)
        view = OneTask(self.model, self.classes[level])
        named = {f"model.{name}": mask for name, mask in masks.items()}
        row = result(self.desk, job, view, named, self.data(level), then.steps, then.seconds)
        same = torch.equal(self._outputs(level), then.outputs)
        return replace(row, then_accuracy=then.accuracy, unchanged=same)

    def whole(self) -> dict[str, Tensor]:
        """Masks with nothing asleep."""
        known = named_parameters(self.model)
        return {name: torch.ones(known[name].shape, dtype=torch.bool) for name in self.body}

    def _outputs(self, level: int) -> Tensor:
        self.model.eval()
        with torch.no_grad():
            outputs: Tensor = self.model(self.data(level).test.x)[:, self.classes[level]]
        return outputs

    def _train_mode(self) -> None:
        self.model.train()
        for module in self.model.modules() if self.settled else ():
            if any(buffer is not None for buffer in module._buffers.values()):
                module.eval()

    def _share(self, awake: Mapping[str, float]) -> float:
        sizes = {name: named_parameters(self.model)[name].numel() for name in self.body}
        total = sum(sizes.values())
        return sum(awake[name] * size for name, size in sizes.items()) / max(1, total)


def head_of(model: nn.Module, classes: int) -> tuple[str, ...]:
    """The parameters of the last layer, which has a row per class.

    Raises:
        SetupError: the model does not end so.

    >>> head_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 10)), 10)
    ('2.weight', '2.bias')
    """
    layers = [(name, one) for name, one in model.named_modules() if isinstance(one, nn.Linear)]
    if not layers or layers[-1][1].out_features != classes:
        found = layers[-1][1].out_features if layers else "none"
        raise SetupError(
            f"task_masks: the model must end in a Linear layer with a row for each of {classes} "
            f"classes; rows of the last one: {found}"
        )
    prefix = layers[-1][0]
    names = (f"{prefix}.{name}" if prefix else name for name in ("weight", "bias"))
    return tuple(name for name in names if name in named_parameters(model))


def _only(split: Split, own: slice) -> Split:
    chosen = (split.y >= own.start) & (split.y < own.stop)
    return Split(split.x[chosen], split.y[chosen] - own.start)
