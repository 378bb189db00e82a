"""Small runs that are killed: configurations, how a child carries one out, what they leave."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sleepengine.files import plain_state
from sleepengine.pipeline.experiments.runner import Options, Runner
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.running import run

TRAIN = """
name: torn
model: {mlp: {sizes: [6]}}
train:
  length: 24it
  batch_size: 8
  optimizer: {AdamW: {lr: 0.05, amsgrad: true}}
  lr_schedule: {CosineAnnealingLR: {T_max: 24it}}
  evaluate: 4it
seeds: [0, 1]
rules:
  - when: {every: {interval: 2it, before: 18it}}
    who: {scorer: Magnitude, pools: {PerTensor: {}}, amount: {to: {linear: [0.3, 0.6]}}}
    what: Sleep
  - when: {every: {interval: 3it, before: 18it}}
    who: {scorer: Gradient, amount: {to: 0.3}}
    what: {Wake: {value: parked}}
  - when: {every: {interval: 4it, before: 18it}}
    who: {scorer: Random, amount: {by: 0.2}}
    what: Freeze
  - when: {plateau: {metric: valid_loss, patience: 1, mode: max}}
    who: {scorer: Random, amount: {by: 0.1}}
    what: Sleep
"""
LOTTERY = """
name: tickets
experiment: lottery
model: {mlp: {sizes: [6]}}
train:
  length: 10it
  batch_size: 8
  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}
  lr_schedule: {StepLR: {step_size: 4it}}
  evaluate: 5it
lottery:
  levels: 2
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.4}}, what: Sleep}
    - what: {Rewind: {to: 4it}}
  arms: [ticket, random_reinit, random_mask, dense]
"""
SHORT = """
name: short
model: {mlp: {sizes: [4]}}
train: {length: 4it, batch_size: 8, optimizer: {Adam: {lr: 0.05}}, evaluate: 2it}
rules:
  - when: {every: 1it}
    who: {scorer: Magnitude, amount: {to: {linear: [0.2, 0.5]}}}
    what: Sleep
"""
CONFIGS = {"train": TRAIN, "lottery": LOTTERY, "short": SHORT}


class Draws(nn.Module):
    """Draws from all three random states in every training step, and has running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.3)
        self.fc2 = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x + 0.01 * (random.random() + np.random.rand()) + 0.01 * torch.randn_like(x)
        out: Tensor = self.fc2(self.drop(self.norm(self.fc1(x)).relu()))
        return out


def draws(data: Data, seed: int) -> nn.Module:
    """The model of a seed."""
    return Draws()


def blobs() -> Data:
    """Three classes of points: 40 to train on, 15 to validate, 15 to test."""
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(70) % 3
    x = torch.randn(70, 4, generator=generator) + 2.0 * torch.eye(3, 4)[y]
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 40), (40, 55), (55, 70))]
    return Data("blobs", *parts, (4,), 3, Scaling(1.0, 0.0, 1.0))


@dataclass(frozen=True)
class Case:
    """One run: its configuration, and whether its model draws."""

    config: str
    draws: bool = True
    save_seconds: float = 0.0

    def carry_out(self, place: Path) -> None:
        """Begin the run in the folder place/run, or go on with it; digests go to place/ends."""
        (place / "ends").mkdir(exist_ok=True)
        finish = Runner._finish

        def noted(runner: Any, job: Any, network: Any, outcome: Any) -> None:
            name = f"{job.arm}-{job.seed}-{job.level}"
            (place / "ends" / name).write_text(digest(network.state_dict()))
            finish(runner, job, network, outcome)

        Runner._finish = noted  # type: ignore[method-assign]
        try:
            options = Options(progress=False, save_seconds=self.save_seconds)
            given = {"data": blobs(), "model": draws if self.draws else None, "options": options}
            if (place / "run" / "run.json").exists():
                resume(place / "run", **given)
            else:
                run(CONFIGS[self.config], out=place / "run", **given)
        finally:
            Runner._finish = finish  # type: ignore[method-assign]


def digest(state: Any) -> str:
    """sha256 over every plain value and every bit of every tensor."""
    coded, tensors = plain_state.encode(state)
    sha = hashlib.sha256(json.dumps(coded, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def content(place: Path) -> dict[str, Any]:
    """Everything a run leaves: names of files, lines and header without times, masks, digests."""
    folder = place / "run"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    found: dict[str, Any] = {"names": names}
    for name in ("results", "curves", "journal"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    header = json.loads((folder / "run.json").read_text())
    for name in ("started", "finished", "seconds", "sha256"):
        header.pop(name)
    header["files"].pop("results.jsonl")  # which has seconds in it
    found["header"] = header
    for path in sorted((folder / "masks").iterdir()):
        found[path.name] = path.read_bytes()
    for path in sorted((place / "ends").iterdir()):
        found[f"end {path.name}"] = path.read_text()
    return found


def child(work: Callable[[], None], errors: Path) -> int:
    """The process that does the work; it exits with 0, or with 1 and a traceback in the file."""
    pid = os.fork()
    if pid:
        return pid
    try:
        torch.set_num_threads(1)
        work()
        os._exit(0)
    except BaseException:
        import traceback

        errors.write_text(traceback.format_exc())
        os._exit(1)


def ended(pid: int) -> int | None:
    """The status of a child that ended, or None."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return status if done else None


def processor_time(pid: int) -> float:
    """Seconds that a child computed: the same on a busy machine and on an idle one."""
    return time.clock_gettime((~pid << 3) | 2)


def finish(case: Case, place: Path) -> float:
    """Carry the run on to its end in a child that nobody kills; seconds that it computed."""
    pid = child(lambda: case.carry_out(place), place / "errors")
    _, status, usage = os.wait4(pid, 0)
    assert status == 0, (place / "errors").read_text()
    return usage.ru_utime + usage.ru_stime


def undisturbed(case: Case, place: Path) -> tuple[dict[str, Any], float]:
    """What the run leaves when nobody kills it, and how long it computes."""
    # Once in this process, so that children find everything imported and looked up.
    case.carry_out(fresh(place))
    took = finish(case, fresh(place))
    return content(place), took


def fresh(place: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def scratch(fallback: Path) -> Path:
    """A folder in memory where there is one: kill -9 does not lose what was written there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return fallback
    return fresh(memory / f"sleepengine-torture-{os.getpid()}")
