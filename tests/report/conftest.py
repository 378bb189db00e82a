"""Made-up run folders: every number is computed from arm, seed and level, so tests know them."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.files import container
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore

SHAPES = {
    "fc1.weight": torch.Size([30, 784]),
    "fc2.weight": torch.Size([10, 30]),
}
TOTAL = sum(shape.numel() for shape in SHAPES.values())
STEPS = (0, 200, 400, 600, 800)


@dataclass(frozen=True)
class Spec:
    """What a made-up run is like."""

    experiment: str = "lottery"
    status: str = "finished"
    name: str = "digits lottery"
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ("ticket", "reinit")
    levels: int = 6
    tensors: tuple[str, ...] = ("fc1.weight", "fc2.weight")
    rule: str = "prune"
    config: str = "experiment: lottery\nname: digits lottery\n"
    input_shape: tuple[int, ...] | None = (1, 28, 28)
    masks: bool = False
    stop_after: int | None = None
    test_examples: int = 10_000
    extra: dict[str, Any] = field(default_factory=dict)


def awake_at(level: int) -> float:
    """Half of the weights are left after every level."""
    return 0.5**level


def accuracy_at(arm: str, seed: int, level: int) -> float:
    """Tickets keep up until few weights are left; the other arms lose a point per level."""
    ripple = 0.0008 * math.sin(3.0 * seed + 0.7 * level + sum(map(ord, arm)))
    loss = 0.0006 * level**2 if arm in ("ticket", "train") else 0.008 * level
    return 0.98 + ripple - loss


def write_run(folder: Path, spec: Spec) -> Path:
    """Write the folder that `spec` describes."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(spec.config, encoding="utf-8")
    networks = _networks(spec)[: spec.stop_after]
    _write_lines(folder / "results.jsonl", [_result(*network) for network in networks])
    _write_lines(folder / "curves.jsonl", [p for n in networks for p in _curve(spec, *n)])
    _write_lines(folder / "journal.jsonl", [j for n in networks for j in _journal(spec, *n)])
    if spec.masks:
        (folder / "masks").mkdir()
        for arm, seed, level in networks:
            path = folder / "masks" / f"{arm}-s{seed}-l{level}.masks"
            container.write(path, _store(level).state_dict(), kind="masks")
    (folder / "run.json").write_text(json.dumps(_meta(spec)), encoding="utf-8")
    return folder


def _meta(spec: Spec) -> dict[str, Any]:
    done = spec.status == "finished"
    return {
        "name": spec.name,
        "experiment": spec.experiment,
        "status": spec.status,
        "started": "2025-03-01T10:00:00+00:00",
        "finished": "2025-03-01T12:05:00+00:00" if done else None,
        "seconds": 7500.0,
        "seeds": list(spec.seeds),
        "arms": list(spec.arms),
        "data": {
            "name": "mnist",
            "train": 55_000,
            "valid": 5_000,
            "test": spec.test_examples,
            "input_shape": None if spec.input_shape is None else list(spec.input_shape),
            "classes": 10,
        },
        "model": {"name": "lenet-300-100", "parameters": TOTAL + 40, "maskable": TOTAL},
        "versions": {
            "sleepengine": "0.1.0",
            "torch": "2.13.0",
            "ignite": "0.5.5",
            "python": "3.11",
        },
        "config_sha256": hashlib.sha256(spec.config.encode()).hexdigest(),
        "device": "cpu",
        "format": 1,
        **spec.extra,
    }


def _networks(spec: Spec) -> list[tuple[str, int, int]]:
    levels = range(spec.levels) if spec.experiment == "lottery" else range(1)
    return [(arm, seed, level) for seed in spec.seeds for level in levels for arm in spec.arms]


def _result(arm: str, seed: int, level: int) -> dict[str, Any]:
    accuracy = accuracy_at(arm, seed, level)
    awake = 0.1 if arm == "train" else awake_at(level)
    return {
        "arm": arm,
        "seed": seed,
        "level": level,
        "awake": awake,
        "awake_count": round(awake * TOTAL),
        "maskable": TOTAL,
        "test_accuracy": accuracy,
        "test_loss": 0.07 + 0.01 * level,
        "valid_accuracy": accuracy + 0.001,
        "valid_loss": 0.08 + 0.01 * level,
        "best_valid_step": 600 - 20 * level if arm == "ticket" else 600 + 40 * level + 10 * seed,
        "best_valid_accuracy": accuracy + 0.002,
        "steps": STEPS[-1],
        "seconds": 12.5,
    }


def _curve(spec: Spec, arm: str, seed: int, level: int) -> list[dict[str, Any]]:
    points = []
    for step in STEPS:
        rest = math.exp(-step / 200.0)
        awake = awake_at(level) if spec.experiment == "lottery" else 1.0 - 0.9 * step / STEPS[-1]
        points.append(
            {
                "arm": arm,
                "seed": seed,
                "level": level,
                "step": step,
                "epoch": step / 400.0,
                "train_loss": 0.02 + 2.2 * rest if step else None,
                "valid_loss": 0.08 + 2.2 * rest + 0.004 * seed,
                "valid_accuracy": accuracy_at(arm, seed, level) - 0.3 * rest,
                "awake": awake,
                "layers": {name: awake ** (1.0 / (1 + i)) for i, name in enumerate(spec.tensors)},
            }
        )
    return points


def _journal(spec: Spec, arm: str, seed: int, level: int) -> list[dict[str, Any]]:
    steps = STEPS[1:] if spec.experiment == "train" else (0,)
    return [
        {
            "arm": arm,
            "seed": seed,
            "level": level,
            "step": step,
            "epoch": step / 400.0,
            "rule": spec.rule,
            "action": "Sleep",
            "changed": 1176,
            "fraction": 0.9 * step / STEPS[-1] if step else 1.0 - awake_at(level),
            "tensors": {
                name: {"changed": 588, "asleep": 588, "frozen": 0, "total": 1176}
                for name in spec.tensors
            },
        }
        for step in steps
    ]


def _store(level: int) -> MaskStore:
    """Weights near the middle of the picture last longest."""
    store = MaskStore(SHAPES)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    far = ((y - 13.5) ** 2 + (x - 13.5) ** 2).sqrt().flatten() / 19.1
    noise = torch.rand(SHAPES["fc1.weight"], generator=torch.Generator().manual_seed(1))
    worth = noise * (1.0 - 0.9 * far)
    asleep = worth.flatten().argsort().argsort().view_as(worth) < worth.numel() * (1 - 0.5**level)
    store.sleep(Choice({"fc1.weight": asleep}))
    return store


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Call it with fields of `Spec`; each call makes a new run folder."""
    made: list[Path] = []

    def make(**fields: Any) -> Path:
        made.append(write_run(tmp_path / f"run{len(made)}", Spec(**fields)))
        return made[-1]

    return make


@pytest.fixture
def make_train(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """The same for a plain training."""

    def make(**fields: Any) -> Path:
        return make_run(**{"experiment": "train", "arms": ("train",), "name": "gradual", **fields})

    return make
