"""The run folder: what a run writes while it goes, so that it can be shown, reported and resumed.

config.yaml       the configuration, byte for byte
run.json          name, status, times, seeds, arms, data, model, versions
results.jsonl     one line per trained network
curves.jsonl      one line per evaluation
journal.jsonl     one line per action of a rule
masks/ARM-sSEED-lLEVEL.masks
checkpoint.run    everything needed to resume; removed when the run is finished
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, final

from sleepengine.errors import FileError, SetupError
from sleepengine.files import atomic, container
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.experiments.jobs import Job

FORMAT = 1
META = "run.json"
CONFIG = "config.yaml"
CHECKPOINT = "checkpoint.run"


class Lines(Enum):
    """The files that grow line by line."""

    RESULTS = "results.jsonl"
    CURVES = "curves.jsonl"
    JOURNAL = "journal.jsonl"


@final
class RunFolder:
    """One folder that a run writes; the two class methods make one.

    Every line is appended and flushed by itself. All other files are written whole or not at all.
    """

    def __init__(self, path: Path, meta: Mapping[str, Any]) -> None:
        self.path = path
        self._meta = dict(meta)

    @classmethod
    def create(cls, path: str | Path, config: str, meta: Mapping[str, Any]) -> RunFolder:
        """A new folder with the configuration and the header.

        Raises:
            SetupError: the folder is there and is not empty.
            FileError: it cannot be written.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            resumable = (folder / CHECKPOINT).is_file()
            how = f"to continue it: sleepengine resume {folder}" if resumable else "choose another"
            raise SetupError(f"{folder} is there already and is not an empty folder; {how}")
        try:
            (folder / "masks").mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise FileError(f"{folder}: cannot be made: {fault.strerror}") from fault
        atomic.write(folder / CONFIG, [config.encode("utf-8")])
        for kind in Lines:
            atomic.write(folder / kind.value, [])
        made = cls(folder, {**meta, "format": FORMAT})
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
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
        except OSError as fault:
            raise FileError(
                f"{folder} is not a run folder: {META} cannot be read ({fault.strerror})"
            ) from fault
        except ValueError as fault:
            raise FileError(f"{folder / META} is damaged: {fault}") from fault
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise FileError(f"{folder / META} has another format than {FORMAT}")
        return cls(folder, meta)

    # --- header --------------------------------------------------------------------------------

    @property
    def meta(self) -> Mapping[str, Any]:
        """The content of run.json."""
        return self._meta

    def note(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self._meta.update(changes)
        text = json.dumps(self._meta, indent=1, ensure_ascii=False, allow_nan=False)
        atomic.write(self.path / META, [text.encode("utf-8"), b"\n"])

    def config(self) -> str:
        """The text of the configuration."""
        try:
            return (self.path / CONFIG).read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise FileError(f"{self.path / CONFIG}: cannot be read: {fault}") from fault

    # --- lines ---------------------------------------------------------------------------------

    def append(self, kind: Lines, row: Mapping[str, Any]) -> None:
        """Add one line."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        with open(self.path / kind.value, "ab") as file:
            file.write(line.encode("utf-8") + b"\n")

    def rows(self, kind: Lines) -> list[dict[str, Any]]:
        """All whole lines."""
        return [json.loads(line) for line in self._whole(kind)]

    def counts(self) -> dict[str, int]:
        """Whole lines of each file, by its name."""
        return {kind.value: len(self._whole(kind)) for kind in Lines}

    def truncate(self, counts: Mapping[str, int]) -> None:
        """Cut each file down to so many lines.

        Raises:
            FileError: a file has fewer.
        """
        for kind in Lines:
            lines, wanted = self._whole(kind), counts[kind.value]
            if len(lines) < wanted:
                raise FileError(
                    f"{self.path / kind.value} has {len(lines)} lines; the checkpoint was made "
                    f"after {wanted}"
                )
            atomic.write(self.path / kind.value, lines[:wanted])

    def _whole(self, kind: Lines) -> list[bytes]:
        """The lines with their newlines; a last one that was cut short is left out."""
        try:
            lines = (self.path / kind.value).read_bytes().splitlines(keepends=True)
        except OSError as fault:
            raise FileError(f"{self.path / kind.value}: cannot be read: {fault}") from fault
        return lines[:-1] if lines and not lines[-1].endswith(b"\n") else lines

    # --- masks ---------------------------------------------------------------------------------

    def save_masks(self, job: Job, store: MaskStore) -> None:
        """Write the masks with which a network ended."""
        path = self.path / "masks" / f"{job.arm}-s{job.seed}-l{job.level}.masks"
        container.write(path, store.state_dict(), kind="masks")

    # --- checkpoint ----------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is, or would be."""
        return self.path / CHECKPOINT

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint; the lines written so far are counted in it."""
        self._sync()
        container.write(self.checkpoint, {**state, "lines": self.counts()}, kind="run")

    def load_checkpoint(self) -> dict[str, Any]:
        """The state that was saved last, with the line files cut back to it.

        Raises:
            FileError: there is none, or it is damaged.
        """
        if not self.checkpoint.is_file():
            status = self._meta.get("status")
            raise FileError(f"{self.path}: the run is {status}; there is no {CHECKPOINT} to resume")
        state = container.read(self.checkpoint, kind="run")
        self.truncate(state.pop("lines"))
        return dict(state)

    def remove_checkpoint(self) -> None:
        """The run is finished."""
        with contextlib.suppress(FileNotFoundError):
            self.checkpoint.unlink()

    def _sync(self) -> None:
        """Lines reach the disk before the checkpoint that counts them."""
        for kind in Lines:
            descriptor = os.open(self.path / kind.value, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
