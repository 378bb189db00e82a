"""The experiment supermask: how well does a network do that is never trained, only masked?

A level per share of sleeping weights: scores are trained by edge-popup, and the top of each tensor
is awake. The control at every level is as many weights at random: the first scores.

Source: Ramanujan et al. 2020 (arXiv:1911.13299).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import final

from torch import nn

from sleepengine.learned.deterministic import TopK
from sleepengine.learned.logits import MaskLogits
from sleepengine.pipeline import build, build_masks
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.experiments.jobs import RANDOM_MASK, Job
from sleepengine.pipeline.experiments.stages import Desk, Experiment
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.training.learning import Lesson, learn, result

LEARNED = "supermask"


@final
class SupermaskExperiment(Experiment):
    """A stage per seed and share; all shares of a seed mask the same untrained network."""

    def arms(self, config: Config) -> tuple[str, ...]:
        """Learned, and at random."""
        return (LEARNED, RANDOM_MASK)

    def jobs(self, parts: Parts, seeds: Sequence[int]) -> tuple[Job, ...]:
        """One per seed and share."""
        levels = range(len(build_masks.supermask(parts.config).asleep))
        return tuple(Job(LEARNED, seed, level) for seed in seeds for level in levels)

    def carry_out(self, desk: Desk) -> Sequence[Outcome]:
        """Learn the scores of one share."""
        began, parts, job = time.perf_counter(), desk.parts, desk.job
        config = parts.config
        model = parts.model(job.seed).requires_grad_(False).eval()
        asleep = build_masks.supermask(config).asleep[job.level]
        logits = MaskLogits(
            model, TopK(asleep), params=config.engine.params, seed=job.seed_of("scores")
        )
        first = logits.snapshot()
        optimizer = parts.optimizer(nn.ParameterList(logits.parameters()))
        batches = parts.batches(job.seed)
        steps = parts.total_steps
        schedule = build.lr_schedule(config, optimizer, len(batches), steps)
        lesson = Lesson(model, logits, optimizer, parts.memory, steps, schedule, clip=None)
        learn(desk, job, lesson, batches)
        desk.folder.save_masks(job, logits.store())
        learned = result(desk, job, model, logits.snapshot(), parts.memory, steps, 0.0)
        control = Job(RANDOM_MASK, job.seed, job.level)
        return (
            replace(learned, seconds=time.perf_counter() - began),
            result(desk, control, model, first, parts.memory, 0, 0.0),
        )
