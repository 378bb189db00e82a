"""Files of every version that was released can be read, and newer ones say that they are newer."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.errors import FileError, StateError
from sleepengine.files import container, json_text
from sleepengine.learned.mask_files import load_masks
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import checkpoint
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.mask_files import load_masks as load_store
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.training.network import make
from sleepengine.pipeline.verifying import verify
from sleepengine.report.run_data import RunData

from .make_fixtures import STOP, every_value, mask_sets, points

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "expected.json").is_file())


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or math.isnan(a))


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the files of one version."""
    shutil.copytree(HERE / request.param, tmp_path / "files")
    return tmp_path / "files"


@pytest.fixture
def expected(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return found


def test_there_are_versions() -> None:
    assert "0.1.0" in VERSIONS


def test_every_value(folder: Path) -> None:
    assert same(container.read(folder / "every_value.sleep", kind="test"), every_value())


def test_named_masks(folder: Path) -> None:
    sets, wanted = load_masks(folder / "tasks.masks"), mask_sets()
    assert list(sets) == list(wanted)
    for name in wanted:
        assert all(torch.equal(sets[name][w], wanted[name][w]) for w in ("w", "v"))


def test_a_finished_run(folder: Path, expected: dict[str, Any]) -> None:
    data = RunData.load(folder / "finished")
    assert data.finished
    assert data.results[0].awake_count == expected["awake_count"]
    assert data.curves
    assert data.journal
    store = load_store(data.masks[0].path)
    total = sum(store.numel(n) for n in store.names() if n.endswith("weight"))
    assert total - store.asleep_count() == expected["awake_count"]
    assert [check for check in verify(folder / "finished") if not check.ok] == []


def test_a_checkpoint(folder: Path, expected: dict[str, Any]) -> None:
    """All of it can be loaded into a network of today."""
    made = RunFolder.open(folder / "interrupted")
    state = checkpoint.check(made.load_checkpoint(), made.checkpoint)
    network = make(Parts.of(load(made.config()), None, Given(data=points())), 0)
    checkpoint.check_fits(state, network, made.checkpoint)
    store: MaskStore = network.engine.store
    assert {n: store.asleep_count(n) for n in store.entries()} | expected["asleep_at_stop"] == {
        n: store.asleep_count(n) for n in store.entries()
    }
    assert network.engine.time.iteration == STOP
    assert "1it" in network.engine.live.kept
    network.engine.check()


def test_an_interrupted_run_goes_on_where_torch_is_the_same(folder: Path) -> None:
    """Another PyTorch may round otherwise, so that its run is refused by name."""
    before = json.loads((folder / "interrupted" / "run.json").read_text())["versions"]["torch"]
    if before == str(torch.__version__):
        assert resume(folder / "interrupted", data=points(), progress=False).status == "finished"
    else:
        with pytest.raises(StateError, match="versions: torch was"):
            resume(folder / "interrupted", data=points(), progress=False)


# --- newer ones ----------------------------------------------------------------------------------


def newer_container(path: Path, form: int) -> None:
    raw = path.read_bytes()
    head = raw[:8] + struct.pack("<I", form) + raw[12:28]
    path.write_bytes(head + hashlib.sha256(head + raw[60:]).digest() + raw[60:])


def test_a_newer_container(folder: Path) -> None:
    path = folder / "tasks.masks"
    newer_container(path, container.FORMAT + 1)
    with pytest.raises(FileError, match=r"tasks\.masks: format version 2 .*only 1.*newer"):
        load_masks(path)


@pytest.mark.parametrize("kind", ["run", "masks", "mask sets"])
def test_a_newer_kind(kind: str, folder: Path) -> None:
    path = folder / "new"
    container.write(path, {}, kind=kind, version=2)
    with pytest.raises(FileError, match=rf"new: '{kind}' in version 2, expected version 1.*newer"):
        container.read(path, kind=kind)


def test_a_newer_header(folder: Path) -> None:
    path = folder / "finished" / "run.json"
    header = json.loads(path.read_text())
    header.pop("sha256")
    header["format"] = 2
    path.write_text(json.dumps({**header, "sha256": json_text.digest(header)}))
    with pytest.raises(FileError, match=r"run\.json has another format than 1.*newer"):
        RunFolder.open(folder / "finished")
    with pytest.raises(FileError, match=r"run\.json: format 2; this version reads format 1"):
        RunData.load(folder / "finished")


def test_newer_states(folder: Path) -> None:
    state = container.read(folder / "interrupted" / "checkpoint.run", kind="run")
    engine = state["current"]["network"]["engine"]
    network = make(Parts.of(load(RunFolder.open(folder / "interrupted").config()), None,
                            Given(data=points())), 0)  # fmt: skip
    for part in (engine, engine["masks"], engine["journal"]):
        part["format"] = 2
        with pytest.raises(StateError, match="format 2, this reads 1"):
            network.engine.load_state_dict(engine)
        part["format"] = 1
    network.engine.load_state_dict(engine)


# --- no pickle -----------------------------------------------------------------------------------


def test_nothing_is_pickled_or_zipped(folder: Path) -> None:
    """No file begins as a pickle or a zip does; all are ours or plain text."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) >= 12
    for path in paths:
        raw = path.read_bytes()
        assert raw[:1] != b"\x80", path
        assert raw[:4] != b"PK\x03\x04", path
        assert raw[:8] == container.MAGIC or raw.decode("utf-8") is not None, path


def test_no_source_reads_or_writes_pickles() -> None:
    import ast

    root = HERE.parents[1]
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    for package in ("sleepengine", "saliency", "schedules"):
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    assert not forbidden & {alias.name.split(".")[0] for alias in node.names}, path
                if isinstance(node, ast.ImportFrom):
                    assert (node.module or "").split(".")[0] not in forbidden, path
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert (node.value.id, node.attr) not in (
                        ("torch", "save"), ("torch", "load"), ("yaml", "load"), ("np", "save"),
                    ), path  # fmt: skip
