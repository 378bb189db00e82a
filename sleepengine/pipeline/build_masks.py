"""From a checked configuration to the parts of an experiment with masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer

from sleepengine.errors import SetupError
from sleepengine.files.yaml_document import KeyPath
from sleepengine.learned.relaxation import Relaxation
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.configuration.entries import Kind
from sleepengine.pipeline.configuration.mask_sections import MaskTraining, Supermask, TaskMasks
from sleepengine.pipeline.configuration.sections import MASK_TRAINING
from sleepengine.pipeline.problems.questions import Question

T = TypeVar("T")


def mask_training(config: Config) -> MaskTraining:
    """The section of that name.

    Raises:
        SetupError: the configuration is of another experiment.
    """
    return _there(config.mask_training, config)


def supermask(config: Config) -> Supermask:
    """The section of that name; raises as `mask_training`."""
    return _there(config.supermask, config)


def task_masks(config: Config) -> TaskMasks:
    """The section of that name; raises as `mask_training`."""
    return _there(config.task_masks, config)


def questions(config: Config) -> tuple[Question, ...]:
    """What is asked of every sample."""
    kind = config.tables.kinds[Question]
    section = mask_training(config)
    return tuple(
        _made(config, kind, {task.name: task.arguments}, (MASK_TRAINING, "tasks", i))
        for i, task in enumerate(section.tasks)
    )


def relaxation(config: Config) -> Relaxation:
    """How logits stand for a mask."""
    written = mask_training(config).relaxation
    kind = config.tables.kinds[Relaxation]
    path = (MASK_TRAINING, "relaxation")
    made: Relaxation = _made(config, kind, {written.name: written.arguments}, path)
    return made


def mask_optimizer(config: Config, logits: Iterable[nn.Parameter]) -> Optimizer:
    """The optimizer of a mask's logits."""
    written = mask_training(config).optimizer
    path = (MASK_TRAINING, "optimizer")
    data = {written.name: written.arguments}
    made: Optimizer = _made(config, config.tables.optimizers, data, path, params=logits)
    return made


def _there(section: T | None, config: Config) -> T:
    if section is None:
        raise SetupError(f"{config.source}: experiment {config.experiment} has other settings")
    return section


def _made(config: Config, kind: Kind, data: Any, path: KeyPath, **given: Any) -> Any:
    reader, mistakes = config.reader()
    made = reader.build(kind, data, path, **given)
    mistakes.report()
    return made
