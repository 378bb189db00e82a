"""Carry out an experiment whose stages are short: each begins anew when a run is resumed."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from tqdm import tqdm

from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.experiments.runner import Options, empty_checkpoint, result_of
from sleepengine.pipeline.outcome import Outcome, RunResult
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.run_folder import Lines, RunFolder
from sleepengine.pipeline.training import random_state
from sleepengine.pipeline.training.evaluate import Score
from sleepengine.pipeline.training.interrupts import Interrupts
from sleepengine.pipeline.training.session import session


@dataclass(frozen=True)
class Desk:
    """What a stage works with: parts, the folder, its job, and a pulse to give after each step."""

    parts: Parts
    folder: RunFolder
    job: Job
    pulse: Callable[[], None]

    def curve(
        self,
        job: Job,
        step: int,
        per_epoch: int,
        train_loss: float | None,
        score: Score,
        awake: float,
        layers: Mapping[str, float],
    ) -> None:
        """Append one evaluation."""
        self.folder.append(
            Lines.CURVES,
            {
                "arm": job.arm,
                "seed": job.seed,
                "level": job.level,
                "step": step,
                "epoch": step / per_epoch,
                "train_loss": train_loss,
                "valid_loss": score.loss,
                "valid_accuracy": score.accuracy,
                "awake": awake,
                "layers": dict(layers),
            },
        )


class Experiment(ABC):
    """Stages, each a pure function of the configuration, the data and its job."""

    @abstractmethod
    def arms(self, config: Config) -> tuple[str, ...]:
        """The arms of the results, in order."""

    @abstractmethod
    def jobs(self, parts: Parts, seeds: Sequence[int]) -> tuple[Job, ...]:
        """The stages, in order."""

    @abstractmethod
    def carry_out(self, desk: Desk) -> Sequence[Outcome]:
        """One stage; its masks and curves are written on the way."""

    def check(self, parts: Parts) -> None:
        """Raise SetupError for what cannot work with these parts; nothing by default."""
        return


@final
class StagedRunner:
    """Carries out one run stage by stage; after each the checkpoint says which are done."""

    def __init__(
        self,
        experiment: Experiment,
        parts: Parts,
        folder: RunFolder,
        options: Options,
        data_folder: str | None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        saved = empty_checkpoint(data_folder) if saved is None else saved
        self._experiment = experiment
        self._parts = parts
        self._folder = folder
        self._options = options
        self._data_folder = data_folder
        self._jobs = experiment.jobs(parts, folder.meta["seeds"])
        self._done: int = saved["done"]
        self._before: float = saved["seconds"]
        self._began = time.perf_counter()

    def run(self) -> RunResult:
        """Carry out what is left.

        Raises:
            KeyboardInterrupt: after Ctrl-C; the running stage begins anew on resuming.
        """
        around = session(self._folder, self._options.threads, self._time)
        with around as interrupts, self._bar() as bar:
            self._save()
            for job in self._jobs[self._done :]:
                bar.set_description(str(job))
                self._stage(job, interrupts)
                bar.update()
        return result_of(self._folder)

    def _stage(self, job: Job, interrupts: Interrupts) -> None:
        def pulse() -> None:
            if interrupts.asked:
                raise KeyboardInterrupt

        random_state.seed(job.seed_of("random"))
        for outcome in self._experiment.carry_out(Desk(self._parts, self._folder, job, pulse)):
            self._folder.append(Lines.RESULTS, outcome.row())
        self._done += 1
        self._save()

    def _save(self) -> None:
        state = {**empty_checkpoint(self._data_folder), "done": self._done}
        self._folder.save_checkpoint({**state, "seconds": self._time()})

    def _time(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _bar(self) -> Any:
        return tqdm(
            total=len(self._jobs),
            initial=self._done,
            unit="stage",
            dynamic_ncols=True,
            disable=None if self._options.progress else True,
        )
