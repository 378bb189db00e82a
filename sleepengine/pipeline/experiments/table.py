"""Which runner carries out which experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.configuration.sections import MASK_TRAINING, SUPERMASK, TASK_MASKS
from sleepengine.pipeline.experiments.jobs import TRAIN
from sleepengine.pipeline.experiments.mask_training import MaskTrainingExperiment
from sleepengine.pipeline.experiments.runner import Options, Runner, jobs_of
from sleepengine.pipeline.experiments.stages import Experiment, StagedRunner
from sleepengine.pipeline.experiments.supermask import SupermaskExperiment
from sleepengine.pipeline.experiments.task_masks import TaskMasksExperiment
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.run_folder import RunFolder

STAGED: Mapping[str, Experiment] = {
    MASK_TRAINING: MaskTrainingExperiment(),
    SUPERMASK: SupermaskExperiment(),
    TASK_MASKS: TaskMasksExperiment(),
}
"""Experiments in short stages; `train` and `lottery` save inside a training."""


def runner_of(
    parts: Parts,
    folder: RunFolder,
    options: Options,
    data_folder: str | None,
    saved: Mapping[str, Any] | None = None,
) -> Runner | StagedRunner:
    """What carries out a run in its folder."""
    experiment = STAGED.get(parts.config.experiment)
    if experiment is None:
        return Runner(parts, folder, options, data_folder, saved)
    return StagedRunner(experiment, parts, folder, options, data_folder, saved)


def arms_of(config: Config) -> tuple[str, ...]:
    """The arms of the results."""
    experiment = STAGED.get(config.experiment)
    if experiment is not None:
        return experiment.arms(config)
    return (TRAIN,) if config.lottery is None else config.lottery.arms


def networks_of(parts: Parts) -> int:
    """How many networks are trained, or stages carried out."""
    experiment, seeds = STAGED.get(parts.config.experiment), parts.config.seeds
    return len(jobs_of(parts, seeds) if experiment is None else experiment.jobs(parts, seeds))


def check_parts(parts: Parts) -> None:
    """Whether the experiment can work with these parts.

    Raises:
        SetupError: it cannot.
    """
    experiment = STAGED.get(parts.config.experiment)
    if experiment is not None:
        experiment.check(parts)
