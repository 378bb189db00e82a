"""Seeds in several processes: the same lines as in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.errors import SetupError
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.parallel import Parallel
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.running import run

ROOT = Path(__file__).parents[2]
CONFIG = """
name: side_by_side
model: {mlp: {sizes: [4]}}
train: {length: 100it, batch_size: 64, evaluate: 10it}
seeds: [2, 0]
rules:
  - {when: {once: 5it}, who: {scorer: Random, amount: {to: 0.5}}, what: Sleep}
"""
SIDE_BY_SIDE = Options(progress=False, workers=2)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find this library wherever the tests run from."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("results", "curves", "journal"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    for path in sorted((folder / "masks").iterdir()):
        found[path.name] = path.read_bytes()
    return found


def test_two_processes_interrupted_and_resumed_write_what_one_writes(tmp_path: Path) -> None:
    folder = tmp_path / "two"

    def press() -> None:
        while not (folder / "parts" / "1" / "checkpoint.run").is_file():
            time.sleep(0.01)
        time.sleep(0.3)  # wherever the workers are by then, most likely still starting
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press, daemon=True)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, out=folder, options=SIDE_BY_SIDE)
    finger.join()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert not (folder / "results.jsonl").read_text()
    assert resume(folder, progress=False).status == "finished"
    run(CONFIG, out=tmp_path / "one", progress=False)
    assert content(folder) == content(tmp_path / "one")
    assert [row["seed"] for row in content(folder)["results"]] == [2, 0]
    assert not (folder / "parts").exists()
    assert not (folder / "checkpoint.run").exists()


def test_a_second_ctrl_c_leaves_no_worker_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    start = Parallel._start

    def noted(self: Parallel, part: RunFolder) -> subprocess.Popen[str]:
        started.append(start(self, part))
        if len(started) == 2:  # both presses come before the first look
            signal.raise_signal(signal.SIGINT)
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        return started[-1]

    monkeypatch.setattr(Parallel, "_start", noted)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, out=tmp_path / "two", options=SIDE_BY_SIDE)
    assert [one.poll() is None for one in started] == [False, False]
    monkeypatch.undo()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert resume(tmp_path / "two", progress=False).status == "finished"


def test_workers_need_everything_by_name(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be handed to another process"):
        run(CONFIG, out=tmp_path / "r", model=torch.nn.Linear(2, 2), options=SIDE_BY_SIDE)
    own = Plugins(models={"mine": lambda seed: torch.nn.Linear(2, 2)})
    with pytest.raises(SetupError, match="use plug-in modules"):
        run(CONFIG, out=tmp_path / "r", plugins=own, options=SIDE_BY_SIDE)
    with pytest.raises(SetupError, match="at least 1"):
        run(CONFIG, out=tmp_path / "r", options=Options(workers=0))
    assert not (tmp_path / "r").exists()
