"""A run that was interrupted anywhere ends like one that was not, bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sleepengine.errors import FileError, StateError
from sleepengine.files import container
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.running import run

from .half_and_tickets import blobs

TRAIN = """
name: rigl
model: {mlp: {sizes: [6]}}
train:
  length: 20it
  batch_size: 8
  optimizer: {Adam: {lr: 0.05}}
  lr_schedule: {CosineAnnealingLR: {T_max: 20it}}
  evaluate: 1ep
seeds: [0, 1]
rules:
  - when: {every: {interval: 3it, before: 15it}}
    who: {scorer: Magnitude, pools: {PerTensor: {}}, amount: {to: {linear: [0.3, 0.6]}}}
    what: Sleep
  - when: {every: {interval: 3it, before: 15it}}
    who: {scorer: Gradient, amount: {to: 0.3}}
    what: {Wake: {value: zero}}
  - when: {plateau: {metric: valid_loss, patience: 1, mode: max}}
    who: {scorer: Random, amount: {by: 0.1}}
    what: Sleep
"""
LOTTERY = """
name: tickets
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 12it, batch_size: 8, optimizer: {SGD: {lr: 0.1, momentum: 0.9}}, evaluate: 5it}
lottery:
  levels: 2
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.4}}, what: Sleep}
    - what: {Rewind: {to: POINT}}
  arms: [ticket, random_reinit, random_mask, dense]
"""


class InterruptAt:
    """Cross entropy that presses Ctrl-C in the middle of the n-th training step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        if output.requires_grad:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)
        return torch.nn.functional.cross_entropy(output, target)


def content(folder: Path) -> dict[str, Any]:
    """All lines without seconds, and the masks."""
    found: dict[str, Any] = {}
    for name in ("results", "curves", "journal"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    for path in sorted((folder / "masks").iterdir()):
        found[path.name] = path.read_bytes()
    return found


def status(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["status"])


def interrupted(config: str, out: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(config, out=out, data=blobs(), loss_fn=InterruptAt(step), progress=False)
    assert status(out) == "interrupted"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The content of runs that nobody interrupted."""
    found = {}
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp(name) / "run"
        assert run(config, out=folder, data=blobs(), progress=False).status == "finished"
        found[name] = content(folder)
    return found


CONFIGS = {
    "train": TRAIN,
    "lottery": LOTTERY.replace("POINT", "init"),
    "late": LOTTERY.replace("POINT", "4it"),
}


@pytest.mark.parametrize("step", [1, 3, 6, 15, 20, 23])
def test_training_resumes_to_the_same_end(
    step: int, tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    interrupted(TRAIN, tmp_path / "run", step)
    assert resume(tmp_path / "run", data=blobs(), progress=False).status == "finished"
    assert {row["rule"] for row in whole["train"]["journal"]} == {
        "Sleep-Magnitude",
        "Wake-Gradient",
        "Sleep-Random",
    }
    assert content(tmp_path / "run") == whole["train"]
    assert not (tmp_path / "run" / "checkpoint.run").exists()


@pytest.mark.parametrize("name", ["lottery", "late"])
@pytest.mark.parametrize("step", [1, 12, 29, 50])
def test_a_lottery_resumes_to_the_same_end(
    name: str, step: int, tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    interrupted(CONFIGS[name], tmp_path / "run", step)
    resume(tmp_path / "run", data=blobs(), progress=False)
    assert content(tmp_path / "run") == whole[name]


def test_a_run_may_be_interrupted_again_and_again(
    tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    folder = tmp_path / "run"
    interrupted(TRAIN, folder, 7)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resume(folder, data=blobs(), loss_fn=InterruptAt(7), progress=False)
    resume(folder, data=blobs(), progress=False)
    assert content(folder) == whole["train"]


def test_a_run_that_died_goes_on_from_its_last_checkpoint(
    tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    class Dies(InterruptAt):
        def __call__(self, output: Tensor, target: Tensor) -> Tensor:
            if output.requires_grad:
                self.left -= 1
                if self.left == 0:
                    raise OSError("the machine is gone")
            return torch.nn.functional.cross_entropy(output, target)

    folder = tmp_path / "run"
    often = Options(progress=False, save_seconds=0.0)
    with pytest.raises(OSError, match="gone"):
        run(TRAIN, out=folder, data=blobs(), loss_fn=Dies(17), options=often)
    assert status(folder) == "failed"
    # Lines after the checkpoint, one of them cut short, as a crash leaves them.
    with open(folder / "curves.jsonl", "ab") as file:
        file.write(b'{"arm":"train","seed":0}\n{"arm":"tr')
    resume(folder, data=blobs(), progress=False)
    assert content(folder) == whole["train"]


def test_threads_and_checkpoints_change_nothing(
    tmp_path: Path, whole: dict[str, dict[str, Any]]
) -> None:
    before = torch.get_num_threads(), torch.get_rng_state()
    run(TRAIN, out=tmp_path / "run", data=blobs(), options=Options(False, save_seconds=0.0))
    assert content(tmp_path / "run") == whole["train"]
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_finished_run_is_returned(tmp_path: Path) -> None:
    done = run(TRAIN, out=tmp_path / "run", data=blobs(), progress=False)
    assert resume(tmp_path / "run", data=blobs(), progress=False) == done


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(FileError, match="not a run folder"):
        resume(folder, progress=False)
    interrupted(TRAIN, folder, 3)
    with pytest.raises(StateError, match="data: name was 'blobs' when the run began, now 'digits'"):
        resume(folder, progress=False)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("0.05", "0.06"))
    with pytest.raises(StateError, match="was changed since the run began"):
        resume(folder, data=blobs(), progress=False)
    (folder / "config.yaml").write_text(text)
    checkpoint = folder / "checkpoint.run"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FileError, match="damaged"):
        resume(folder, data=blobs(), progress=False)
    checkpoint.unlink()
    with pytest.raises(FileError, match=r"no checkpoint\.run to resume"):
        resume(folder, data=blobs(), progress=False)
    checkpoint.write_bytes(whole)
    (folder / "curves.jsonl").write_text("")
    (folder / "journal.jsonl").write_text("")
    with pytest.raises(FileError, match=r"journal\.jsonl has 0 lines; .* was made after"):
        resume(folder, data=blobs(), progress=False)
    assert container.inspect(checkpoint).kind == "run"
