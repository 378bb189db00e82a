"""Learn one mask on a frozen network, with its curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from sleepengine.attachment.sampler import ResumableSampler
from sleepengine.learned.inference import masked
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.trainer import create_mask_trainer
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.experiments.stages import Desk
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.problems.bundle import Data, Split, TensorBatches
from sleepengine.pipeline.problems.dataset import Batches, Part
from sleepengine.pipeline.training.evaluate import evaluate
from sleepengine.pipeline.training.train import SILENT

Masks = Mapping[str, Tensor]


@dataclass(frozen=True)
class Lesson:
    """What a mask is learned with, and for how long.

    schedule: an LR schedule and whether it is stepped per epoch.
    """

    model: nn.Module
    logits: MaskLogits
    optimizer: Optimizer
    data: Data
    steps: int
    schedule: tuple[Any, bool] | None = None
    alpha: float | None = None
    clip: float | None = 1.0


def learn(desk: Desk, job: Job, lesson: Lesson, batches: Batches) -> None:
    """Train the logits for all steps; evaluate as often as `train.evaluate` says."""
    logits, per_epoch, every = lesson.logits, len(batches), desk.parts.evaluate_every
    trainer = create_mask_trainer(
        lesson.model,
        desk.parts.loss_fn,
        logits,
        lesson.optimizer,
        alpha=lesson.alpha,
        clip=lesson.clip,
    )
    trainer.logger = SILENT
    losses: list[float] = []

    def completed(engine: Engine) -> None:
        step = engine.state.iteration
        losses.append(float(engine.state.output))
        if lesson.schedule is not None:
            scheduler, by_epoch = lesson.schedule
            if not by_epoch or step % per_epoch == 0:
                scheduler.step()
        if step % every == 0 or step == lesson.steps:
            masks = logits.masks()
            with masked(lesson.model, masks):
                score = evaluate(lesson.model, lesson.data.split(Part.VALID), desk.parts.loss_fn)
            mean = sum(losses) / len(losses)
            desk.curve(job, step, per_epoch, mean, score, awake_share(masks), layers(masks))
            losses.clear()
        desk.pulse()

    trainer.add_event_handler(Events.ITERATION_COMPLETED, completed)
    trainer.run(batches, max_iters=lesson.steps)


def batches_of(split: Split, batch_size: int, seed: int) -> TensorBatches:
    """Batches of a split in an order of its own, a function of (seed, epoch) alone."""
    return TensorBatches(split, ResumableSampler(split, batch_size=batch_size, seed=seed))


def result(
    desk: Desk, job: Job, model: nn.Module, masks: Masks, data: Data, steps: int, seconds: float
) -> Outcome:
    """How a network does with these masks (True = awake, over all that may sleep)."""
    loss_fn = desk.parts.loss_fn
    with masked(model, masks):
        valid = evaluate(model, data.split(Part.VALID), loss_fn)
        test = evaluate(model, data.split(Part.TEST), loss_fn)
    total = sum(mask.numel() for mask in masks.values())
    awake = sum(int(mask.sum()) for mask in masks.values())
    return Outcome(
        arm=job.arm,
        seed=job.seed,
        level=job.level,
        awake=awake / max(1, total),
        awake_count=awake,
        maskable=total,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        valid_accuracy=valid.accuracy,
        valid_loss=valid.loss,
        best_valid_step=None,
        best_valid_accuracy=None,
        best_test_accuracy=None,
        steps=steps,
        seconds=seconds,
    )


def awake_share(masks: Masks) -> float:
    """Share of all masked weights that are awake."""
    total = sum(mask.numel() for mask in masks.values())
    return sum(int(mask.sum()) for mask in masks.values()) / max(1, total)


def layers(masks: Masks) -> dict[str, float]:
    """Awake share of each tensor."""
    return {name: int(mask.sum()) / max(1, mask.numel()) for name, mask in masks.items()}
