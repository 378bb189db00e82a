"""The run folder: what a run writes while it goes, so that it can be shown, reported and resumed.

config.yaml       the configuration, byte for byte
run.json          name, status, times, seeds, arms, data, model, versions; at the end the sha256
                  of every other file
results.jsonl     one line per trained network
curves.jsonl      one line per evaluation
journal.jsonl     one line per action of a rule
nodes.jsonl       node groups, and what happened to which node (see training/node_lines.py)
masks/ARM-sSEED-lLEVEL.masks
checkpoint.run    everything needed to resume; removed when the run is finished
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

from sleepengine.errors import FileError, SetupError
from sleepengine.files import atomic, container, json_text, lock
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.run_lines import LineFiles, Lines

__all__ = ["CHECKPOINT", "CONFIG", "FORMAT", "META", "Lines", "RunFolder"]

FORMAT = 1
META = "run.json"
CONFIG = "config.yaml"
CHECKPOINT = "checkpoint.run"
PARTS = "parts"


@final
class RunFolder:
    """One folder that a run writes; the two class methods make one.

    Every line is appended and flushed by itself. All other files are written whole or not at all.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        self.path = path
        self.lines = LineFiles(path)
        self._meta = dict(meta)

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: str,
        meta: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """A new folder with the configuration, a first checkpoint of `state`, and the header.

        The header comes last: a folder that has one can be resumed, and one whose making was cut
        short has none and may be made again.

        Raises:
            SetupError: the folder is there, and is neither empty nor cut short in its making.
            FileError: it cannot be written.
        """
        folder = Path(path)
        if folder.exists() and not _may_be_made(folder):
            resumable = (folder / CHECKPOINT).is_file()
            how = f"to continue it: sleepengine resume {folder}" if resumable else "choose another"
            raise SetupError(f"{folder} is there already and is not an empty folder; {how}")
        try:
            (folder / "masks").mkdir(parents=True, exist_ok=True)
            atomic.sync_folder(folder.absolute().parent)
        except OSError as fault:
            raise FileError(f"{folder}: cannot be made: {fault.strerror}") from fault
        made = cls(folder, {**meta, "format": FORMAT})
        with lock.held(folder):
            made.lines.begin()
            if state is not None:
                made.save_checkpoint(state)
            atomic.write(folder / CONFIG, [config.encode("utf-8")])
            made.note()
        return made

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A folder that a run wrote.

        Raises:
            FileError: it is not a run folder, or its header is damaged.
        """
        folder = Path(path)
        try:
            meta = json_text.parse((folder / META).read_bytes())
        except OSError as fault:
            raise FileError(
                f"{folder} is not a run folder: {META} cannot be read ({fault.strerror})"
            ) from fault
        except ValueError as fault:
            raise FileError(f"{folder / META} is damaged: {fault}") from fault
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise FileError(
                f"{folder / META} has another format than {FORMAT}; a newer sleepengine may have "
                "written it"
            )
        if meta.pop("sha256", None) != json_text.digest(meta):
            raise FileError(f"{folder / META} is damaged: its sha256 is not that of its contents")
        return cls(folder, meta)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing this run meanwhile.

        Raises:
            FileError: another one does.
        """
        with lock.held(self.path):
            yield

    # --- header --------------------------------------------------------------------------------

    @property
    def meta(self) -> Mapping[str, Any]:
        """The content of run.json."""
        return self._meta

    def note(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self._meta.update(changes)
        whole = {**self._meta, "sha256": json_text.digest(self._meta)}
        text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
        atomic.write(self.path / META, [text.encode("utf-8"), b"\n"])

    def finish(self, **changes: Any) -> None:
        """The run is finished: note the sums of all files, and drop what only resuming needs."""
        self.lines.sync()
        self.note(status="finished", files=self.sums(), **changes)
        self.tidy()

    def tidy(self) -> None:
        """Remove the checkpoint and the parts of a finished run."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / CHECKPOINT).unlink()
        if (self.path / PARTS).is_dir():
            shutil.rmtree(self.path / PARTS)

    def sums(self) -> dict[str, dict[str, Any]]:
        """Name -> bytes and sha256 of the configuration, the lines and the masks."""
        paths = [self.path / CONFIG, *(self.path / kind.value for kind in Lines)]
        paths += sorted((self.path / "masks").glob("*.masks"))
        there = (path for path in paths if path.is_file())
        return {path.relative_to(self.path).as_posix(): _sum(path) for path in there}

    def config(self) -> str:
        """The text of the configuration."""
        try:
            return (self.path / CONFIG).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise FileError(f"{self.path / CONFIG}: cannot be read: {fault}") from fault

    # --- lines ---------------------------------------------------------------------------------

    def append(self, kind: Lines, row: Mapping[str, Any]) -> None:
        """Add one line."""
        self.lines.append(kind, row)

    def rows(self, kind: Lines) -> list[dict[str, Any]]:
        """All whole lines."""
        return self.lines.rows(kind)

    def counts(self) -> dict[str, int]:
        """Whole lines of each file, by its name."""
        return self.lines.counts()

    # --- masks ---------------------------------------------------------------------------------

    def save_masks(self, job: Job, store: MaskStore) -> None:
        """Write the masks with which a network ended."""
        path = self.path / "masks" / f"{job.arm}-s{job.seed}-l{job.level}.masks"
        path.parent.mkdir(exist_ok=True)  # tools that copy folders may leave out empty ones
        container.write(path, store.state_dict(), kind="masks")

    # --- checkpoint ----------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is, or would be."""
        return self.path / CHECKPOINT

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint; lines reach the disk before it, and are counted in it."""
        self.lines.sync()
        container.write(self.checkpoint, {**state, "lines": self.lines.marks()}, kind="run")

    def load_checkpoint(self) -> dict[str, Any]:
        """The state that was saved last, with the lines it was saved after ("lines").

        Raises:
            FileError: there is none, it is damaged, or the lines are not those of then.
        """
        if not self.checkpoint.is_file():
            status = self._meta.get("status")
            raise FileError(f"{self.path}: the run is {status}; there is no {CHECKPOINT} to resume")
        state = container.read(self.checkpoint, kind="run")
        if not isinstance(state, dict) or not _are_marks(state.get("lines")):
            raise FileError(f"{self.checkpoint}: damaged: it does not say how many lines there are")
        self.lines.check(state["lines"])
        return state

    def cut_back(self, state: Mapping[str, Any]) -> None:
        """Forget the lines that were written after a checkpoint."""
        self.lines.cut({name: mark["count"] for name, mark in state["lines"].items()})


def _may_be_made(folder: Path) -> bool:
    """Whether the folder is empty, or holds no more than a making that was cut short."""
    if not folder.is_dir():
        return False
    empty = {kind.value for kind in Lines}
    known = {"masks", CHECKPOINT, CONFIG, *empty}
    names = {path.name for path in folder.iterdir()}
    if any(name not in known and not atomic.is_temporary(name) for name in names):
        return False
    if CONFIG in names and CHECKPOINT not in names:
        return False
    if any((folder / name).stat().st_size for name in names & empty):
        return False
    return "masks" not in names or not any((folder / "masks").iterdir())


def _are_marks(marks: object) -> bool:
    """A kind of lines that is younger than the checkpoint may be missing."""
    return (
        isinstance(marks, dict)
        and marks.keys() <= {kind.value for kind in Lines}
        and all(isinstance(mark, dict) for mark in marks.values())
        and all(mark.keys() == {"count", "sha256"} for mark in marks.values())
        and all(type(mark["count"]) is int and mark["count"] >= 0 for mark in marks.values())
    )


def _sum(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except OSError as fault:
        raise FileError(f"{path}: cannot be read: {fault.strerror}") from fault
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
