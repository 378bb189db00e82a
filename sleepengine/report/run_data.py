"""A run folder, read strictly: what was trained, how it went, what every rule did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from sleepengine.errors import FileError, SetupError
from sleepengine.report.records import (
    CurvePoint,
    GroupsLine,
    JournalLine,
    MaskFile,
    Meta,
    NodeLine,
    Result,
)

T = TypeVar("T")
L = TypeVar("L", Result, CurvePoint, JournalLine, NodeLine)
FORMAT = 1
_MASK_FILE = re.compile(r"(?P<arm>.+)-s(?P<seed>\d+)-l(?P<level>\d+)\.masks")


@dataclass(frozen=True)
class RunData:
    """Everything in a run folder. Lines stand in the order in which they were written."""

    path: Path
    meta: Meta
    config: str
    results: tuple[Result, ...]
    curves: tuple[CurvePoint, ...]
    journal: tuple[JournalLine, ...]
    masks: tuple[MaskFile, ...]
    nodes: tuple[NodeLine, ...] = ()
    groups: GroupsLine | None = None

    @property
    def finished(self) -> bool:
        """True when every network that was asked for is trained."""
        return self.meta.status == "finished"

    @classmethod
    def load(cls, path: str | Path) -> RunData:
        """Read the folder `path`.

        A run that is not finished may lack files, and may end in a line cut short: such a line is
        left out. While worker processes train, the lines are those of their parts. Everything else
        that is missing or damaged is an error.

        Raises:
            FileError: no such folder, a file missing or unreadable, a line damaged (file:line),
                a network reported twice, a mask file with a strange name.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise FileError(f"{folder}: no such run folder; give the folder that holds run.json.")
        meta = _meta(folder / "run.json")
        ended = meta.status == "finished"
        parts = [] if ended else sorted((folder / "parts").glob("[0-9]*"))
        if parts:
            return _together(folder, meta, [cls.load(part) for part in parts])
        results = _lines(folder / "results.jsonl", _RESULT, whole=ended, required=ended)
        _refuse_twins(folder / "results.jsonl", results)
        found = _values(_lines(folder / "nodes.jsonl", _NODES, whole=ended))
        return cls(
            path=folder,
            meta=meta,
            config=_text(folder / "config.yaml"),
            results=tuple(result for _, result in results),
            curves=_values(_lines(folder / "curves.jsonl", _CURVE, whole=ended)),
            journal=_values(_lines(folder / "journal.jsonl", _JOURNAL, whole=ended)),
            masks=_mask_files(folder / "masks"),
            nodes=tuple(line for line in found if isinstance(line, NodeLine)),
            groups=next((line for line in found if isinstance(line, GroupsLine)), None),
        )


def _together(folder: Path, meta: Meta, parts: Sequence[RunData]) -> RunData:
    """The parts of a run in the order of its seeds, as it will write them at its end."""
    order = {seed: place for place, seed in enumerate(meta.seeds)}

    def sort(lines: Iterable[L]) -> tuple[L, ...]:
        return tuple(sorted(lines, key=lambda line: order.get(line.seed, len(order))))

    return RunData(
        path=folder,
        meta=meta,
        config=_text(folder / "config.yaml"),
        results=sort(line for part in parts for line in part.results),
        curves=sort(line for part in parts for line in part.curves),
        journal=sort(line for part in parts for line in part.journal),
        masks=tuple(
            sorted(
                (file for part in parts for file in part.masks),
                key=lambda file: (file.arm, file.seed, file.level),
            )
        ),
        nodes=sort(line for part in parts for line in part.nodes),
        groups=next((part.groups for part in parts if part.groups is not None), None),
    )


@dataclass(frozen=True)
class _Reader(Generic[T]):
    """Turns JSON text into one of the dataclasses above, or says what is wrong with it."""

    adapter: TypeAdapter[T]

    def read(self, text: bytes, where: str) -> T:
        try:
            return self.adapter.validate_json(text, strict=True)
        except ValidationError as error:
            problems = "; ".join(_problem(item) for item in error.errors(include_url=False))
            raise FileError(f"{where}: {problems}.") from error
        except SetupError as error:  # a node group that cannot be
            raise FileError(f"{where}: {error}") from error


_META = _Reader(TypeAdapter(Meta))
_RESULT = _Reader(TypeAdapter(Result))
_CURVE = _Reader(TypeAdapter(CurvePoint))
_JOURNAL = _Reader(TypeAdapter(JournalLine))
_NODES: _Reader[NodeLine | GroupsLine] = _Reader(TypeAdapter(NodeLine | GroupsLine))


def _problem(item: Any) -> str:
    if item["type"] == "json_invalid":
        return str(item["msg"])
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{place!r} is missing"
    found = repr(item["input"])
    short = found if len(found) <= 60 else found[:57] + "..."
    return f"{place or 'the line'}: {item['msg']}, found {short}"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"{path}: missing; this is not a whole run folder.") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}.") from error


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 text (byte {error.start}).") from error


def _meta(path: Path) -> Meta:
    meta = _META.read(_bytes(path), str(path))
    if meta.format != FORMAT:
        raise FileError(f"{path}: format {meta.format}; this version reads format {FORMAT}.")
    return meta


def _lines(
    path: Path, reader: _Reader[T], *, whole: bool, required: bool = False
) -> list[tuple[int, T]]:
    """The lines of a .jsonl file with their numbers, counted from 1."""
    if not required and not path.exists():
        return []
    # The part after the last newline is empty in a whole file, else the line that was cut short.
    *lines, rest = _bytes(path).split(b"\n")
    if rest and whole:
        raise FileError(f"{path}:{len(lines) + 1}: the line is cut short (no newline at its end).")
    return [(n, reader.read(line, f"{path}:{n}")) for n, line in enumerate(lines, start=1)]


def _values(lines: Sequence[tuple[int, T]]) -> tuple[T, ...]:
    return tuple(value for _, value in lines)


def _refuse_twins(path: Path, results: Sequence[tuple[int, Result]]) -> None:
    seen: dict[tuple[str, int, int], int] = {}
    for number, result in results:
        key = (result.arm, result.seed, result.level)
        if key in seen:
            raise FileError(
                f"{path}:{number}: arm {result.arm!r}, seed {result.seed}, level {result.level} "
                f"was already reported on line {seen[key]}."
            )
        seen[key] = number


def _mask_files(folder: Path) -> tuple[MaskFile, ...]:
    files = []
    for path in sorted(folder.glob("*.masks")):
        match = _MASK_FILE.fullmatch(path.name)
        if match is None:
            raise FileError(f"{path}: a mask file is called ARM-sSEED-lLEVEL.masks.")
        files.append(MaskFile(match["arm"], int(match["seed"]), int(match["level"]), path))
    return tuple(sorted(files, key=lambda file: (file.arm, file.seed, file.level)))
