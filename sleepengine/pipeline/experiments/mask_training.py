"""The experiment mask_training: which weights does each task use?

One network is trained on all tasks at once; the question is part of its input. Then it is frozen,
and a mask is learned for all tasks together (the control: masks as such cost this much) and one for
each task. Every mask, and every complement of a task's mask, is tried on every task.

Source: Csordas, van Steenkiste and Schmidhuber 2021 (arXiv:2010.02066).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from sleepengine.learned.inference import masked
from sleepengine.learned.logits import MaskLogits
from sleepengine.masks.mask_sets import MaskSets
from sleepengine.pipeline import build_masks
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.experiments.stages import Desk, Experiment
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.bundle import Data, Part
from sleepengine.pipeline.problems.questions import one_task
from sleepengine.pipeline.training.evaluate import evaluate
from sleepengine.pipeline.training.learning import Lesson, Masks, batches_of, learn, result
from sleepengine.pipeline.training.network import make
from sleepengine.pipeline.training.train import Progress, Training

NETWORK, ALL = "network", "all"


def without(task: str) -> str:
    """The arm of a task's complement."""
    return f"without_{task}"


@final
class MaskTrainingExperiment(Experiment):
    """A stage per seed: the network, then its masks."""

    def arms(self, config: Config) -> tuple[str, ...]:
        """The network, the control, a mask per task, and the complements of those."""
        names = [question.name for question in build_masks.questions(config)]
        return (NETWORK, ALL, *names, *map(without, names))

    def jobs(self, parts: Parts, seeds: Sequence[int]) -> tuple[Job, ...]:
        """One per seed."""
        return tuple(Job(NETWORK, seed) for seed in seeds)

    def carry_out(self, desk: Desk) -> Sequence[Outcome]:
        """Train, freeze, learn the masks, try them on every task."""
        names = [question.name for question in build_masks.questions(desk.parts.config)]
        model, trained = _trained(desk)
        stage = _Stage(desk, model, _tasks(desk.parts.memory, names))
        outcomes = [replace(trained, tasks=stage.on_every_task({}))]
        sets = MaskSets()
        for name, data in {ALL: desk.parts.memory, **stage.tasks}.items():
            job = Job(name, desk.job.seed)
            outcomes.append(stage.learned(job, data, sets))
        of_tasks = MaskSets()
        for name in names:
            of_tasks[name] = sets[name]
        outcomes[2:] = [_with_shares(one, of_tasks) for one in outcomes[2:]]
        for name, data in stage.tasks.items():
            complement = sets.complement(name)
            job = Job(without(name), desk.job.seed)
            row = result(desk, job, model, complement, data, 0, 0.0)
            outcomes.append(replace(row, tasks=stage.on_every_task(complement)))
        return outcomes


def _trained(desk: Desk) -> tuple[nn.Module, Outcome]:
    """The network of this seed, trained on all tasks at once, and frozen."""
    network = make(desk.parts, desk.job.seed)

    def after_step(_: Training) -> None:
        desk.pulse()

    training = Training(
        desk.parts, desk.folder, desk.job, network, Progress(), after_step=after_step
    )
    outcome = training.run()
    return network.model.requires_grad_(False).eval(), outcome


@dataclass(frozen=True)
class _Stage:
    """One frozen network and its tasks."""

    desk: Desk
    model: nn.Module
    tasks: Mapping[str, Data]

    def learned(self, job: Job, data: Data, sets: MaskSets) -> Outcome:
        """Learn a mask on one data set, keep it and try it."""
        began, parts = time.perf_counter(), self.desk.parts
        section = build_masks.mask_training(parts.config)
        logits = MaskLogits(
            self.model,
            build_masks.relaxation(parts.config),
            params=parts.config.engine.params,
            seed=job.seed_of("masks"),
        )
        batches = batches_of(data.train, parts.config.train.batch_size, job.seed_of("batches"))
        lesson = Lesson(
            self.model,
            logits,
            build_masks.mask_optimizer(parts.config, logits.parameters()),
            data,
            parts.steps_of(section.length, "mask_training.length", len(batches)),
            alpha=section.alpha,
        )
        learn(self.desk, job, lesson, batches)
        sets[job.arm] = masks = logits.snapshot()
        self.desk.folder.save_masks(job, logits.store())
        seconds = time.perf_counter() - began
        row = result(self.desk, job, self.model, masks, data, lesson.steps, seconds)
        return replace(row, tasks=self.on_every_task(masks))

    def on_every_task(self, masks: Masks) -> dict[str, float | None]:
        """Test accuracy on each task with these masks."""
        loss_fn = self.desk.parts.loss_fn
        with masked(self.model, masks), torch.no_grad():
            return {
                name: evaluate(self.model, data.split(Part.TEST), loss_fn).accuracy
                for name, data in self.tasks.items()
            }


def _tasks(data: Data, names: Sequence[str]) -> dict[str, Data]:
    """The samples of each task."""
    found = {}
    for i, name in enumerate(names):
        train, valid, test = (one_task(data.split(part), i, len(names)) for part in Part)
        found[name] = replace(data, train=train, valid=valid, test=test)
    return found


def _with_shares(outcome: Outcome, sets: MaskSets) -> Outcome:
    """|mask and (union of the others)| / |union of all|, over all tensors and for each."""
    others = sets.union(*(name for name in sets if name != outcome.arm))
    both, every = sets[outcome.arm] & others, sets.union()
    total = sum(every.counts().values())
    shared = sum(both.counts().values()) / total if total else 0.0
    return replace(outcome, shared=shared, shared_layers=sets.shared(outcome.arm))
