"""The files of a run that grow line by line: JSON, one object a line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, final

from sleepengine.errors import FileError
from sleepengine.files import atomic, json_text


class Lines(Enum):
    """The files that grow line by line."""

    RESULTS = "results.jsonl"
    CURVES = "curves.jsonl"
    JOURNAL = "journal.jsonl"
    NODES = "nodes.jsonl"


_NONE: Mapping[str, Any] = {"count": 0, "sha256": hashlib.sha256().hexdigest()}


@final
class LineFiles:
    """These files of one run folder. A last line that a crash cut short does not count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self) -> None:
        """Make the files, empty."""
        for kind in Lines:
            atomic.write(self._folder / kind.value, [])

    def append(self, kind: Lines, row: Mapping[str, Any]) -> None:
        """Add one line.

        Raises:
            FileError: it cannot be written.
        """
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        path = self._folder / kind.value
        try:
            with open(path, "ab") as file:
                file.write(line.encode("utf-8") + b"\n")
        except OSError as fault:
            raise FileError(f"{path}: the line was not written: {fault.strerror}") from fault

    def rows(self, kind: Lines) -> list[dict[str, Any]]:
        """All whole lines.

        Raises:
            FileError: one of them is damaged, with its number.
        """
        path = self._folder / kind.value
        rows = []
        for number, line in enumerate(self._whole(kind), start=1):
            try:
                row = json_text.parse(line)
            except ValueError as fault:
                raise FileError(f"{path}:{number}: damaged: {fault}") from fault
            if not isinstance(row, dict):
                raise FileError(f"{path}:{number}: damaged: not an object")
            rows.append(row)
        return rows

    def counts(self) -> dict[str, int]:
        """Whole lines of each file, by its name."""
        return {kind.value: len(self._whole(kind)) for kind in Lines}

    def marks(self) -> dict[str, dict[str, Any]]:
        """How far each file is: the number of whole lines, and their sha256."""
        whole = {kind.value: self._whole(kind) for kind in Lines}
        return {name: {"count": len(lines), "sha256": _sha(lines)} for name, lines in whole.items()}

    def check(self, marks: Mapping[str, Mapping[str, Any]]) -> None:
        """The files begin with the lines that `marks` were taken of.

        Raises:
            FileError: one has fewer lines, or others.
        """
        for kind in Lines:
            mark, lines = marks.get(kind.value, _NONE), self._whole(kind)
            path, wanted = self._folder / kind.value, mark["count"]
            if len(lines) < wanted:
                raise FileError(
                    f"{path} has {len(lines)} lines; the checkpoint was made after {wanted}"
                )
            if _sha(lines[:wanted]) != mark["sha256"]:
                raise FileError(
                    f"{path}: the first {wanted} lines were changed since they were written: "
                    "their sha256 is not the one in the checkpoint"
                )

    def cut(self, counts: Mapping[str, int]) -> None:
        """Leave so many lines of each file."""
        for kind in Lines:
            atomic.write(self._folder / kind.value, self._whole(kind)[: counts.get(kind.value, 0)])

    def sync(self) -> None:
        """Bring every line to the disk."""
        for kind in Lines:
            path = self._folder / kind.value
            try:
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as fault:
                raise FileError(f"{path}: cannot be saved: {fault.strerror}") from fault

    def _whole(self, kind: Lines) -> list[bytes]:
        """The lines with their newlines."""
        try:
            raw = (self._folder / kind.value).read_bytes()
        except FileNotFoundError:  # a kind that is younger than the run
            return []
        except OSError as fault:
            raise FileError(
                f"{self._folder / kind.value}: cannot be read: {fault.strerror}"
            ) from fault
        lines = raw.split(b"\n")
        return [line + b"\n" for line in lines[:-1]]


def _sha(lines: list[bytes]) -> str:
    sha = hashlib.sha256()
    for line in lines:
        sha.update(line)
    return sha.hexdigest()
