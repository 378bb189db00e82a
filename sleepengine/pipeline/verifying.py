"""Check a run folder: every sum, version and count, and what its files say of one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sleepengine.errors import FileError, SetupError, SleepError, StateError
from sleepengine.pipeline import checkpoint, header
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.experiments.runner import result_of
from sleepengine.pipeline.mask_files import load_masks
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.run_folder import CONFIG, META, PARTS, Lines, RunFolder
from sleepengine.pipeline.running import checked
from sleepengine.pipeline.training import random_state
from sleepengine.pipeline.training.network import Network
from sleepengine.pipeline.verifying_lines import Row, fits_journal, fits_results

FINISHED = "finished"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: a file, what about it, and what is wrong with it (if it is)."""

    file: str
    about: str
    fault: str | None = None

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return self.fault is None


def verify(
    path: str | Path, *, data_folder: str | Path | None = None, plugins: Plugins | None = None
) -> tuple[Check, ...]:
    """All checks of the folder `path`; nothing is changed.

    Whether an interrupted run can go on is tried with the data set of its configuration.

    Raises:
        FileError: there is no run in the folder.
    """
    folder = Path(path)
    if not (folder / META).is_file():
        raise FileError(f"{folder} is not a run folder: it has no {META}")
    return tuple(_checks(folder, None if data_folder is None else Path(data_folder), plugins))


def _checks(folder: Path, data_folder: Path | None, plugins: Plugins | None) -> Iterator[Check]:
    opened: list[RunFolder] = []

    def opens() -> None:
        opened.append(RunFolder.open(folder))
        header.check(opened[0].meta, folder / META)

    head = _tried(META, "sha256, format, entries", opens)
    yield head
    if not head.ok:
        return
    run = opened[0]
    yield _tried(CONFIG, "sha256 is the one in run.json", lambda: _config(run))
    yield _tried(
        CONFIG, "is a configuration", lambda: load(folder / CONFIG, plugins=plugins, own_model=True)
    )
    if run.meta["status"] == FINISHED:
        yield from _sums(run)
    rows: dict[Lines, list[Row]] = {}
    for kind in Lines:
        yield _tried(kind.value, "every line is whole", partial(_read, run, kind, rows))
    yield _tried(Lines.RESULTS.value, "fields of every network", lambda: result_of(run))
    yield from _masks(run, rows)
    if run.meta["status"] != FINISHED:
        yield from _resumable(run, data_folder, plugins)
        for part in sorted((folder / PARTS).glob("[0-9]*")):
            if (part / META).is_file():
                inner = _checks(part, data_folder, plugins)
                yield from (replace(c, file=f"{PARTS}/{part.name}/{c.file}") for c in inner)


def _tried(file: str, about: str, look: Callable[[], object]) -> Check:
    try:
        look()
    except SleepError as fault:
        return Check(file, about, str(fault))
    return Check(file, about)


def _config(run: RunFolder) -> None:
    if header.digest(run.config()) != run.meta["config_sha256"]:
        raise StateError(f"{run.path / CONFIG} was changed since the run began")


def _sums(run: RunFolder) -> Iterator[Check]:
    """The files of a finished run are those that it ended with."""
    noted = run.meta.get("files")
    if not isinstance(noted, Mapping):
        yield Check(META, "lists the sums of all files", "it lists none")
        return
    now = run.sums()
    for name in sorted(noted.keys() | now.keys()):
        fault = None
        if name not in now:
            fault = "the file is missing"
        elif name not in noted:
            fault = "the run did not write this file"
        elif noted[name] != now[name]:
            fault = f"{now[name]} here, {noted[name]} at the end of the run"
        yield Check(name, "length and sha256", fault)


def _read(run: RunFolder, kind: Lines, rows: dict[Lines, list[Row]]) -> None:
    rows[kind] = []
    rows[kind] = run.rows(kind)
    path = run.path / kind.value
    if run.meta["status"] == FINISHED and not path.read_bytes().endswith(b"\n") and rows[kind]:
        raise FileError(f"{path}: the last line is cut short")


def _masks(run: RunFolder, rows: Mapping[Lines, list[Row]]) -> Iterator[Check]:
    """Masks in themselves, against the results, and against the journal."""
    for path in sorted((run.path / "masks").glob("*.masks")):
        name = path.relative_to(run.path).as_posix()
        about = "sha256, version, shapes, counts against bits"
        try:
            store = load_masks(path)
        except SleepError as fault:
            yield Check(name, about, str(fault))
            continue
        yield Check(name, about)
        results = partial(fits_results, path.name, store, rows, run.meta)
        yield _tried(name, "against the results", results)
        yield _tried(name, "against the journal", partial(fits_journal, path.name, store, rows))


def _resumable(
    run: RunFolder, data_folder: Path | None, plugins: Plugins | None
) -> Iterator[Check]:
    """The checkpoint in itself, and whether a run could go on from it."""
    name = run.checkpoint.name
    states: list[Mapping[str, Any]] = []

    def reads() -> None:
        states.append(checkpoint.check(run.load_checkpoint(), run.checkpoint))

    read = _tried(name, "sha256, version, fields, lines written before it", reads)
    yield read
    if not read.ok or "workers" in states[0]:
        return
    state = states[0]
    place = state["data_folder"] if data_folder is None else data_folder
    try:
        config = load(run.path / CONFIG, plugins=plugins, own_model=True)
        parts = Parts.of(config, None if place is None else Path(place), Given())
    except SleepError as fault:
        yield Check(name, f"whether a run can go on was not tried: {_first(fault)}")
        return
    facts = header.facts(parts, network := checked(parts))
    own = [what for what in ("data", "model") if facts[what] != run.meta[what]]
    if own:
        yield Check(name, f"whether a run can go on was not tried: its {own[0]} is not the file's")
        return

    def goes_on() -> None:
        checkpoint.check_fits(state, network, run.checkpoint)

    yield _tried(name, "a run can go on: names, shapes, counts, zeros against masks", goes_on)
    with random_state.kept():
        yield _tried(name, "the journal against the masks", lambda: _journals(state, network))


def _journals(state: Mapping[str, Any], network: Network) -> None:
    """The masks that the journal ends with are those of the engine."""
    current = state["current"]
    for saved in (state["ticket"], None if current is None else current["network"]):
        if saved is None:
            continue
        network.load_state_dict(saved)
        journal, store = network.engine.journal, network.engine.store
        last = journal.last()
        if last is not None:
            then = journal.masks_after(last.transaction)
            for name in store.names():
                if then.asleep_count(name) != store.asleep_count(name):
                    raise SetupError(
                        f"the journal leaves {then.asleep_count(name)} weights of {name!r} asleep, "
                        f"the masks {store.asleep_count(name)}"
                    )


def _first(fault: Exception) -> str:
    return str(fault).splitlines()[0]
