"""Seeds side by side: every worker is a process that carries out a run of its own seeds.

The parts lie in RUN/parts/0, 1, ... until all are finished; each is a run folder that can be shown
meanwhile. Networks of different seeds share nothing, so that the lines of the parts, put together
in the order of the seeds, are those of one process.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, final

from tqdm import tqdm

from sleepengine.errors import FileError, SleepError
from sleepengine.files import atomic
from sleepengine.pipeline.experiments.runner import Options, empty_checkpoint, result_of
from sleepengine.pipeline.outcome import RunResult
from sleepengine.pipeline.run_folder import META, PARTS, Lines, RunFolder
from sleepengine.pipeline.training.interrupts import Interrupts
from sleepengine.pipeline.training.session import now

INTERRUPTED = 130
POLL_SECONDS = 0.2


class WorkerError(SleepError, RuntimeError):
    """The process of a part failed; the message is its own."""


@final
class Parallel:
    """Carries out one run in several processes; resumed by the same calls."""

    def __init__(
        self,
        folder: RunFolder,
        options: Options,
        plugins: Sequence[str],
        state: Mapping[str, Any],
    ) -> None:
        self._folder = folder
        self._options = options
        self._plugins = plugins
        self._state = state
        self._networks_in_all: int | None = state["networks"]
        self._before = float(folder.meta["seconds"])
        self._began = time.perf_counter()

    def _make_parts(self) -> None:
        """The parts that are not there yet, none of them begun."""
        seeds, workers = self._folder.meta["seeds"], self._state["workers"]
        for number in range(min(workers, len(seeds))):
            place = self._folder.path / PARTS / str(number)
            if not (place / META).is_file():
                meta = {**self._folder.meta, "seeds": seeds[number::workers]}
                state = empty_checkpoint(self._state["data_folder"])
                RunFolder.create(place, self._folder.config(), meta, state)

    def run(self) -> RunResult:
        """Carry out the parts that are not finished, and put all together.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once every part has saved.
            WorkerError: a part failed; the others were carried on to a saved step.
        """
        self._folder.note(status="running", finished=None)
        try:
            self._make_parts()
            with Interrupts() as interrupts:
                self._carry_out(interrupts)
            self._put_together()
        except BaseException as fault:
            status = "interrupted" if isinstance(fault, KeyboardInterrupt) else "failed"
            with suppress(FileError):  # a full disk may be what failed
                self._folder.note(status=status, seconds=self._time())
            raise
        self._folder.finish(finished=now(), seconds=self._time())
        return result_of(self._folder)

    def _parts(self) -> list[RunFolder]:
        places = sorted((self._folder.path / PARTS).iterdir(), key=lambda path: int(path.name))
        return [RunFolder.open(place) for place in places]

    def _carry_out(self, interrupts: Interrupts) -> None:
        parts = [part for part in self._parts() if part.meta["status"] != "finished"]
        processes = [self._start(part) for part in parts]
        try:
            asked = self._watch(processes, interrupts)
        except BaseException:
            # A second Ctrl-C, say: workers that nobody waits for would train on.
            _ask(processes)
            for process in processes:
                process.communicate()
            raise
        told = [process.communicate()[1] for process in processes]
        # One that was asked while it was still starting dies of the signal; nothing is lost.
        gone = (0, INTERRUPTED, -signal.SIGTERM) if asked else (0, INTERRUPTED)
        for process, words in zip(processes, told, strict=True):
            if process.returncode not in gone:
                raise WorkerError(words.strip().removeprefix("error: ") or "a worker was killed")
        if any(process.returncode for process in processes):
            raise KeyboardInterrupt

    def _watch(self, processes: Sequence[subprocess.Popen[str]], interrupts: Interrupts) -> bool:
        """Wait for all; whether they were asked to stop, since one failed or Ctrl-C was pressed."""
        asked = False
        with self._bar() as bar:
            while any(process.poll() is None for process in processes):
                time.sleep(POLL_SECONDS)
                failed = any(process.poll() not in (None, 0) for process in processes)
                if (interrupts.asked or failed) and not asked:
                    asked = True
                    _ask(processes)
                bar.update(self._networks() - bar.n)
        return asked

    def _start(self, part: RunFolder) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sleepengine", "resume", str(part.path.absolute())]
        command += ["--quiet", "--no-report"]
        command += [word for name in self._plugins for word in ("--plugin", name)]
        return subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # Of its own, so that Ctrl-C reaches a worker once: through us.
            start_new_session=True,
        )

    def _networks(self) -> int:
        """Lines of results so far; some experiments write more than one for a network."""
        lines = sum(part.counts()[Lines.RESULTS.value] for part in self._parts())
        return lines if self._networks_in_all is None else min(lines, self._networks_in_all)

    def _put_together(self) -> None:
        """All lines in the order of the seeds, and the masks."""
        rows: dict[Lines, list[Mapping[str, Any]]] = {kind: [] for kind in Lines}
        parts = self._parts()
        for part in parts:
            for kind in Lines:
                rows[kind] += part.rows(kind)
            for path in sorted((part.path / "masks").glob("*.masks")):
                atomic.write(self._folder.path / "masks" / path.name, [path.read_bytes()])
        order = {seed: place for place, seed in enumerate(self._folder.meta["seeds"])}
        self._folder.lines.begin()
        for kind, found in rows.items():
            for row in sorted(found, key=lambda row: order[row["seed"]]):
                self._folder.append(kind, row)

    def _time(self) -> float:
        return self._before + time.perf_counter() - self._began

    def _bar(self) -> Any:
        return tqdm(
            total=self._networks_in_all,
            initial=self._networks(),
            unit="network",
            dynamic_ncols=True,
            disable=None if self._options.progress else True,
        )


def _ask(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
