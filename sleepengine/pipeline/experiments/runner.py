"""Train the networks of a run one after another, and save often enough to go on from anywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from tqdm import tqdm

from sleepengine.errors import FileError
from sleepengine.pipeline.experiments import lottery
from sleepengine.pipeline.experiments.jobs import DENSE, TICKET, Job, lottery_jobs, train_jobs
from sleepengine.pipeline.outcome import Outcome, RunResult
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.run_folder import Lines, RunFolder
from sleepengine.pipeline.training import random_state
from sleepengine.pipeline.training.interrupts import Interrupts
from sleepengine.pipeline.training.network import Network, State, make
from sleepengine.pipeline.training.session import session
from sleepengine.pipeline.training.train import Progress, Training

SAVE_SECONDS = 30.0


def jobs_of(parts: Parts, seeds: Sequence[int]) -> tuple[Job, ...]:
    """The networks of these seeds that the configuration asks for, in order."""
    asked = parts.config.lottery
    return train_jobs(seeds) if asked is None else lottery_jobs(seeds, asked.levels, asked.arms)


def empty_checkpoint(data_folder: str | None) -> dict[str, Any]:
    """The state of a run of which nothing is done."""
    return {
        "done": 0,
        "ticket": None,
        "current": None,
        "seconds": 0.0,
        "data_folder": data_folder,
    }


@dataclass(frozen=True)
class Options:
    """How a run is carried out; none of it changes a result (but for its seconds).

    progress: whether a bar is drawn (only on a terminal). save_seconds: time between two
    checkpoints inside a training; 0 saves after every step. threads: of PyTorch; small networks are
    fastest with one, and sums in another order would end in other bits. workers: processes that
    train different seeds side by side; None = as many as the run is worth (see `worker_count`).
    """

    progress: bool = True
    save_seconds: float = SAVE_SECONDS
    threads: int = 1
    workers: int | None = 1


@final
class Runner:
    """Carries out one run in its folder; `data_folder` is saved along, for resuming."""

    def __init__(
        self,
        parts: Parts,
        folder: RunFolder,
        options: Options,
        data_folder: str | None,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        saved = empty_checkpoint(data_folder) if saved is None else saved
        self._parts = parts
        self._folder = folder
        self._options = options
        self._data_folder = data_folder
        self._jobs = jobs_of(parts, folder.meta["seeds"])
        self._done: int = saved["done"]
        self._ticket: State | None = saved["ticket"]
        self._current: Mapping[str, Any] | None = saved["current"]
        self._seconds: float = saved["seconds"]
        self._began = time.perf_counter()
        self._saved_at = self._began

    def run(self) -> RunResult:
        """Train what is left.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the running step is finished and saved.
        """
        around = session(self._folder, self._options.threads, self._time)
        with around as interrupts, self._bar() as bar:
            self._save(self._current)
            for job in self._jobs[self._done :]:
                self._train(job, interrupts, bar)
        return result_of(self._folder)

    def _train(self, job: Job, interrupts: Interrupts, bar: Any) -> None:
        network, progress = self._network(job)
        bar.set_description(f"{job}, {network.awake_count / max(1, network.maskable):.1%} awake")
        bar.update(network.engine.time.iteration)

        def after_step(training: Training) -> None:
            bar.update()
            late = time.perf_counter() - self._saved_at >= self._options.save_seconds
            if late or interrupts.asked:
                self._save(training.state_dict())
            if interrupts.asked:
                raise KeyboardInterrupt

        training = Training(
            self._parts, self._folder, job, network, progress, after_step=after_step
        )
        self._finish(job, network, training.run())

    def _network(self, job: Job) -> tuple[Network, Progress]:
        """The network as the job begins, or as it was saved."""
        saved, self._current = self._current, None
        if saved is not None:
            network = make(self._parts, job.seed)
            network.load_state_dict(saved["network"])
            return network, Progress(**saved["progress"])
        random_state.seed(job.seed_of("random"))
        network = lottery.begin(self._parts, job, self._ticket)
        records = 0
        if job.arm == TICKET and self._ticket is not None:
            records = self._ticket["engine"]["journal"]["next_index"]
        return network, Progress(records=records)

    def _finish(self, job: Job, network: Network, outcome: Outcome) -> None:
        self._folder.save_masks(job, network.engine.store)
        self._folder.append(Lines.RESULTS, outcome.row())
        if job.arm == TICKET:
            self._ticket = network.state_dict()
            if job.level == 0 and self._has_dense:
                dense = replace(outcome, arm=DENSE, seconds=0.0)
                self._folder.append(Lines.RESULTS, dense.row())
        self._done += 1
        following = self._jobs[self._done : self._done + 1]
        if following and following[0].seed != job.seed:
            self._ticket = None
        self._save(None)

    @property
    def _has_dense(self) -> bool:
        lottery_asked = self._parts.config.lottery
        return lottery_asked is not None and DENSE in lottery_asked.arms

    def _save(self, current: Mapping[str, Any] | None) -> None:
        self._folder.save_checkpoint(
            {
                "done": self._done,
                "ticket": self._ticket,
                "current": current,
                "seconds": self._time(),
                "data_folder": self._data_folder,
            }
        )
        self._saved_at = time.perf_counter()

    def _time(self) -> float:
        return self._seconds + time.perf_counter() - self._began

    def _bar(self) -> Any:
        steps = self._parts.total_steps
        # None: drawn on a terminal only.
        return tqdm(
            total=steps * len(self._jobs),
            initial=steps * self._done,
            unit="step",
            dynamic_ncols=True,
            disable=None if self._options.progress else True,
        )


def result_of(folder: RunFolder) -> RunResult:
    """What stands in a run folder."""
    try:
        outcomes = tuple(Outcome(**row) for row in folder.rows(Lines.RESULTS))
    except TypeError as fault:
        raise FileError(f"{folder.path / Lines.RESULTS.value}: damaged: {fault}") from fault
    return RunResult(folder.path, folder.meta["status"], outcomes, folder.meta["seconds"])
