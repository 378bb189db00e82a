"""Train one network through an Ignite trainer: step, schedule, sleep, evaluate, save."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from sleepengine.errors import SleepError
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.outcome import Outcome
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.dataset import Batch, DataSet, Part
from sleepengine.pipeline.run_folder import Lines, RunFolder
from sleepengine.pipeline.training.evaluate import Score, evaluate
from sleepengine.pipeline.training.network import Network
from sleepengine.pipeline.training.node_lines import NodeLines

# Ignite logs an error for every exception that it passes on, which would be told twice.
SILENT = logging.getLogger("sleepengine.pipeline.trainer")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


def told(data: DataSet) -> tuple[str, ...]:
    """The metrics that a training tells the rules; those of validation only where there is data."""
    validated = ("valid_loss", "valid_accuracy") if len(data.split(Part.VALID)) else ()
    return ("train_loss", *validated)


class TrainingError(SleepError, RuntimeError):
    """Training broke down: the loss is no number."""


@dataclass
class Progress:
    """What a training knows beside the network; plain values and one tensor."""

    losses: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    steps: int = 0  # since the last evaluation
    records: int = 0  # of the engine's journal, written so far
    best: dict[str, Any] | None = None
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "losses": self.losses.clone()}


class Training:
    """The training of one network, from where it stands to its end."""

    def __init__(
        self,
        parts: Parts,
        folder: RunFolder,
        job: Job,
        network: Network,
        progress: Progress,
        after_step: Callable[[Training], None],
    ) -> None:
        self.network = network
        self.progress = progress
        self._parts = parts
        self._folder = folder
        self._job = job
        self._after_step = after_step
        self._total = parts.total_steps
        self._every = parts.evaluate_every
        self._per_epoch = parts.steps_per_epoch
        self._began = time.perf_counter()
        self._nodes = NodeLines(folder, network.engine, self._where())

    def run(self) -> Outcome:
        """Train to the end; every interruption leaves the network between two steps."""
        engine, batches = self.network.engine, self.network.batches
        if self.step == self.network.start:
            self._nodes.begin(self.step)
        trainer = Engine(self._step)
        trainer.logger = SILENT
        # Handlers run in this order: what is kept or saved at a step has its schedule done.
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._schedule)
        engine.attach(trainer, steps_per_epoch=self._per_epoch, total_steps=self._total)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._completed)
        batches.sampler.attach(trainer)
        trainer.load_state_dict(
            {
                "iteration": engine.time.iteration,
                "epoch_length": self._per_epoch,
                "max_iters": self._total,
            }
        )
        self.network.model.train()
        try:
            if engine.time.iteration < self._total:
                trainer.run(batches)
        finally:
            batches.sampler.detach()
            engine.detach()
        return self._outcome()

    @property
    def step(self) -> int:
        """Steps done, on the clock of the network."""
        return self.network.engine.time.iteration

    def seconds(self) -> float:
        """Time spent on this network, in earlier sessions too."""
        return self.progress.seconds + time.perf_counter() - self._began

    def state_dict(self) -> dict[str, Any]:
        """Network and progress, between two steps; journal lines are written first."""
        self._write_journal()
        progress = {**self.progress.state_dict(), "seconds": self.seconds()}
        return {"network": self.network.state_dict(), "progress": progress}

    # --- handlers ------------------------------------------------------------------------------

    def _step(self, _: Engine, batch: Batch) -> Tensor:
        x, y = batch
        optimizer = self.network.optimizer
        optimizer.zero_grad()
        loss = self._parts.loss_fn(self.network.model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _schedule(self, trainer: Engine) -> None:
        scheduler = self.network.scheduler
        if scheduler is None or not self.network.schedule_runs:
            return
        if not self.network.per_epoch or trainer.state.iteration % self._per_epoch == 0:
            scheduler.step()

    def _completed(self, trainer: Engine) -> None:
        self.progress.losses += trainer.state.output
        self.progress.steps += 1
        step = trainer.state.iteration
        if step % self._every == 0 or step == self._total:
            self._evaluate(step)
        self._after_step(self)

    # --- evaluation ----------------------------------------------------------------------------

    def _evaluate(self, step: int) -> None:
        progress, engine = self.progress, self.network.engine
        train_loss = float(progress.losses) / max(1, progress.steps)
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"{self._job}: the training loss before step {step} is {train_loss}; "
                "a lower learning rate may help"
            )
        progress.losses.zero_()
        progress.steps = 0
        score = self._score(Part.VALID)
        self._note_best(step, score)
        self._folder.append(Lines.CURVES, self._curve(step, train_loss, score))
        engine.metric("train_loss", train_loss)
        for name, value in (("valid_loss", score.loss), ("valid_accuracy", score.accuracy)):
            if value is not None:
                engine.metric(name, value)
        self._write_journal()

    def _score(self, part: Part) -> Score:
        split = self._parts.data.split(part)
        return evaluate(self.network.model, split, self._parts.loss_fn)

    def _note_best(self, step: int, score: Score) -> None:
        best = self.progress.best
        if score.loss is None or (best is not None and score.loss >= best["loss"]):
            return
        self.progress.best = {
            "step": step,
            "loss": score.loss,
            "accuracy": score.accuracy,
            "test_accuracy": self._score(Part.TEST).accuracy,
        }

    def _curve(self, step: int, train_loss: float, score: Score) -> Mapping[str, Any]:
        return {
            **self._where(),
            "step": step,
            "epoch": step / self._per_epoch,
            "train_loss": train_loss,
            "valid_loss": score.loss,
            "valid_accuracy": score.accuracy,
            "awake": self.network.awake_count / max(1, self.network.maskable),
            "layers": self.network.awake_shares(),
        }

    def _where(self) -> dict[str, Any]:
        return {"arm": self._job.arm, "seed": self._job.seed, "level": self._job.level}

    def _write_journal(self) -> None:
        for record in self.network.engine.journal:
            if record.index < self.progress.records:
                continue
            row = record.row()
            epoch = record.step / self._per_epoch if record.epoch is None else record.epoch
            kept = ("step", "rule", "action", "changed", "fraction", "tensors")
            line = {**self._where(), **{name: row[name] for name in kept}, "epoch": epoch}
            self._folder.append(Lines.JOURNAL, line)
        self.progress.records = self.network.engine.journal.next_index
        self._nodes.write()

    def _outcome(self) -> Outcome:
        """Score the end of the training; rules that fired at the very end are in it."""
        self._write_journal()
        self._nodes.end(self.step, self._parts.data)
        network, best = self.network, self.progress.best or {}
        valid, test = self._score(Part.VALID), self._score(Part.TEST)
        return Outcome(
            **self._where(),
            awake=network.awake_count / max(1, network.maskable),
            awake_count=network.awake_count,
            maskable=network.maskable,
            test_accuracy=test.accuracy,
            test_loss=test.loss,
            valid_accuracy=valid.accuracy,
            valid_loss=valid.loss,
            best_valid_step=best.get("step"),
            best_valid_accuracy=best.get("accuracy"),
            best_test_accuracy=best.get("test_accuracy"),
            steps=self.step,
            seconds=self.seconds(),
        )
