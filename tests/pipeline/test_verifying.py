"""`verify` finds nothing wrong with what runs write, and finds what was done to it afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.command_line.cli import main
from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.running import run
from sleepengine.pipeline.verifying import verify

TRAIN = "train: {length: 4it, batch_size: 600, optimizer: {Adam: {lr: 0.05}}, evaluate: 2it}\n"
PLAIN = f"""
name: plain
model: {{mlp: {{sizes: [4]}}}}
{TRAIN}
rules:
  - when: {{every: 1it}}
    who: {{scorer: Magnitude, amount: {{to: {{linear: [0.2, 0.5]}}}}}}
    what: Sleep
  - when: {{at: 4it}}
    who: {{scorer: Random, amount: {{by: 0.2}}}}
    what: {{Wake: {{value: zero}}}}
"""
LOTTERY = f"""
name: tickets
experiment: lottery
model: {{mlp: {{sizes: [4]}}}}
{TRAIN}
lottery:
  levels: 1
  each_level:
    - {{who: {{scorer: Magnitude, amount: {{by: 0.4}}}}, what: Sleep}}
    - what: {{Rewind: {{to: 2it}}}}
  arms: [ticket, random_reinit, random_mask, dense]
"""
MASKS = f"""
name: masks
experiment: mask_training
model: {{mlp: {{sizes: [4]}}}}
{TRAIN}
mask_training: {{tasks: [Label, {{AtLeast: 2}}], length: 2it, optimizer: {{Adam: {{lr: 0.1}}}}}}
"""
SUPER = f"""
name: super
experiment: supermask
model: {{mlp: {{sizes: [4]}}}}
{TRAIN}
supermask: {{asleep: [0.5]}}
"""
TASKS = f"""
name: tasks
experiment: task_masks
model: {{mlp: {{sizes: [4]}}}}
{TRAIN}
task_masks: {{classes: 5, retrain: 1it}}
"""
CONFIGS = {"plain": PLAIN, "lottery": LOTTERY, "masks": MASKS, "super": SUPER, "tasks": TASKS}


def wrong(folder: Path) -> list[tuple[str, str]]:
    """File and fault of every check that failed."""
    return [(check.file, str(check.fault)) for check in verify(folder) if not check.ok]


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_wrong_with_a_run(name: str, tmp_path: Path) -> None:
    run(CONFIGS[name], out=tmp_path / "run", progress=False)
    assert wrong(tmp_path / "run") == []
    about = {check.about for check in verify(tmp_path / "run")}
    assert {"length and sha256", "against the results", "against the journal"} <= about


class Stop(Exception):  # noqa: N818
    """The run is cut off here."""


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was cut off after three steps, each of them saved."""
    from sleepengine.pipeline.experiments.runner import Options
    from sleepengine.pipeline.training.train import Training

    step, left = Training._step, [3]

    def stops(self: Training, *args: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return step(self, *args)

    monkeypatch.setattr(Training, "_step", stops)
    with pytest.raises(Stop):
        run(PLAIN, out=tmp_path / "run", options=Options(False, 0.0))
    monkeypatch.undo()
    return tmp_path / "run"


def test_nothing_is_wrong_with_an_interrupted_run(stopped: Path) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    random = torch.get_rng_state()
    checks = verify(stopped)
    assert [check for check in checks if not check.ok] == []
    about = [check.about for check in checks if check.file == "checkpoint.run"]
    assert about[1:] == [
        "a run can go on: names, shapes, counts, zeros against masks",
        "the journal against the masks",
    ]
    assert torch.equal(torch.get_rng_state(), random)
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()} == before


def forge(change: Callable[[Any], None]) -> Callable[[Path], None]:
    """Write the checkpoint anew, with a right sum, after a change of its state."""

    def forged(folder: Path) -> None:
        path = folder / "checkpoint.run"
        state = container.read(path, kind="run")
        change(state["current"]["network"])
        container.write(path, state, kind="run")

    return forged


def a_bit(name: str) -> Callable[[Path], None]:
    """Flip a bit in the middle of a file."""

    def flip(folder: Path) -> None:
        raw = bytearray((folder / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (folder / name).write_bytes(raw)

    return flip


def awake_in_model(network: Any) -> None:
    network["model"]["fc1.weight"].fill_(1.0)


def wrong_count(network: Any) -> None:
    network["engine"]["masks"]["masks"]["asleep"]["weights"]["fc1.weight"]["count"] += 1


@pytest.mark.parametrize(
    ("change", "file", "fault"),
    [
        (a_bit("checkpoint.run"), "checkpoint.run", "sha256"),
        (a_bit("config.yaml"), "config.yaml", "changed since the run began"),
        (a_bit("run.json"), "run.json", "damaged"),
        (a_bit("curves.jsonl"), "checkpoint.run", "curves.jsonl: the first 1 lines were changed"),
        (forge(awake_in_model), "checkpoint.run", "asleep by the masks and not zero"),
        (forge(wrong_count), "checkpoint.run", "count says"),
        (forge(lambda n: n.pop("optimizer")), "checkpoint.run", "missing .'optimizer'."),
        (lambda f: (f / "checkpoint.run").unlink(), "checkpoint.run", "no checkpoint"),
    ],
)
def test_what_was_done_to_an_interrupted_run(
    change: Callable[[Path], None], file: str, fault: str, stopped: Path
) -> None:
    change(stopped)
    found = wrong(stopped)
    assert any(one == file and re.search(fault, words) for one, words in found), found


def other_masks(folder: Path) -> None:
    """Sound masks, but of other weights."""
    path = folder / "masks" / "train-s0-l0.masks"
    state = container.read(path, kind="masks")
    entry = state["masks"]["asleep"]["weights"]["fc1.weight"]
    entry["bits"], entry["count"] = torch.zeros_like(entry["bits"]), 0
    container.write(path, state, kind="masks")
    made = RunFolder.open(folder)
    made.note(files=made.sums())


def test_what_was_done_to_a_finished_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(PLAIN, out=folder, progress=False)
    other_masks(folder)
    faults = dict(wrong(folder))
    assert list(faults) == ["masks/train-s0-l0.masks"]
    assert "asleep by the journal" in faults["masks/train-s0-l0.masks"]
    (folder / "masks" / "train-s0-l0.masks").unlink()
    assert wrong(folder) == [("masks/train-s0-l0.masks", "the file is missing")]
    (folder / "masks" / "x.masks").write_bytes(b"")
    assert ("masks/x.masks", "the run did not write this file") in wrong(folder)
    with open(folder / "results.jsonl", "ab") as file:
        file.write(b"{}\n")
    assert {name for name, _ in wrong(folder)} >= {"results.jsonl"}


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a run folder"):
        verify(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run(PLAIN, out=folder, progress=False)
    assert main(["verify", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "ok     masks/train-s0-l0.masks: against the results\n" in told
    assert told.endswith(" checks, nothing wrong\n")
    header = json.loads((folder / "run.json").read_text())
    header["seeds"] = [1]
    (folder / "run.json").write_text(json.dumps(header))
    assert main(["verify", "--quiet", str(folder)]) == 1
    told = capsys.readouterr().out
    assert told.startswith("WRONG  run.json: sha256, format, entries: ")
    assert told.endswith("1 checks, 1 wrong\n")
    assert main(["verify", str(tmp_path)]) == 2


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    for words in ("torch ", "safetensors ", "cpu: ", "matplotlib ", "(report pages)"):
        assert words in told


def test_doctor_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleepengine.command_line import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: None if name in ("onnx", "tqdm") else "1")
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "tqdm            MISSING: pip install sleepengine" in told
    assert "not installed (export to ONNX)" in told
    assert "pip install 'sleepengine[onnx]'" in told
