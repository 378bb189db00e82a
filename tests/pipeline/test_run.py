"""Runs from configurations: what they write, and that every arm begins as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sleepengine.errors import ConfigError, SetupError, UnknownNameError
from sleepengine.files import container
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.running import run
from sleepengine.pipeline.training.train import TrainingError
from sleepengine.report.run_data import RunData

from .half_and_tickets import ARMS, EARLY, LATE, PLAIN, TRAIN, blobs


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def masks(folder: Path, name: str) -> MaskStore:
    model = Parts.of(load(TRAIN), None, Given(data=blobs())).model(0)
    store = MaskStore({n: p.shape for n, p in model.named_parameters()})
    store.load_state_dict(container.read(folder / "masks" / f"{name}.masks", kind="masks"))
    return store


def test_a_training_is_written_as_the_reports_read_it(tmp_path: Path) -> None:
    result = run(TRAIN, out=tmp_path / "run", data=blobs(), progress=False)
    read = RunData.load(tmp_path / "run")
    assert read.meta.status == result.status == "finished"
    assert (read.meta.data.name, read.meta.data.train, read.meta.data.test) == ("blobs", 40, 15)
    assert (read.meta.model.name, read.meta.model.parameters, read.meta.model.maskable) == (
        "mlp",
        4 * 6 + 6 + 6 * 3 + 3,
        4 * 6 + 6 * 3,
    )
    assert read.meta.arms == ("train",)
    assert read.config == TRAIN
    # (seed, awake, steps): 42 weights may sleep, half of them do; 5 steps per epoch.
    assert [(r.seed, r.awake_count, r.awake, r.steps) for r in read.results] == [
        (3, 21, 0.5, 15),
        (1, 21, 0.5, 15),
    ]
    assert [(c.seed, c.step, c.epoch, c.awake) for c in read.curves] == [
        (3, 5, 1.0, 0.5),
        (3, 10, 2.0, 0.5),
        (3, 15, 3.0, 0.5),
        (1, 5, 1.0, 0.5),
        (1, 10, 2.0, 0.5),
        (1, 15, 3.0, 0.5),
    ]
    assert [(j.seed, j.step, j.action, j.changed, j.fraction) for j in read.journal] == [
        (3, 5, "Sleep", 21, 0.5),
        (1, 5, "Sleep", 21, 0.5),
    ]
    assert [(m.arm, m.seed, m.level) for m in read.masks] == [("train", 1, 0), ("train", 3, 0)]


def test_the_best_point_has_the_lowest_validation_loss(tmp_path: Path) -> None:
    result = run(TRAIN, out=tmp_path / "run", data=blobs(), progress=False)
    for one in result.of("train"):
        curve = [row for row in rows(tmp_path / "run", "curves") if row["seed"] == one.seed]
        best = min(curve, key=lambda row: row["valid_loss"])
        assert (one.best_valid_step, one.best_valid_accuracy) == (
            best["step"],
            best["valid_accuracy"],
        )
        assert one.best_test_accuracy is not None
        assert (one.valid_loss, one.valid_accuracy) == (
            curve[-1]["valid_loss"],
            curve[-1]["valid_accuracy"],
        )
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        result.of("trian")


def test_without_a_validation_split_there_is_no_best_point(tmp_path: Path) -> None:
    result = run(TRAIN, out=tmp_path / "run", data=blobs(valid=0), progress=False)
    one = result.outcomes[0]
    assert (one.best_valid_step, one.valid_loss, one.best_test_accuracy) == (None, None, None)
    assert one.test_accuracy is not None


def test_training_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    ended: list[nn.Module] = []

    def model(data: Data, seed: int) -> nn.Module:
        ended.append(nn.Linear(4, 3))
        return ended[-1]

    run(PLAIN, out=tmp_path / "run", data=blobs(), model=model, progress=False)
    data = blobs()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        own = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.2)
    batches = data.loader("train", batch_size=8, seed=3)
    for _ in range(3):
        for x, y in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(own(x), y).backward()
            optimizer.step()
    # The first one made was only for checking.
    assert torch.equal(own.weight, ended[1].weight)


@pytest.mark.parametrize("config", [EARLY, LATE])
def test_a_lottery_is_written_level_by_level(tmp_path: Path, config: str) -> None:
    result = run(config, out=tmp_path / "run", data=blobs(), progress=False)
    assert [(o.arm, o.level, o.awake_count) for o in result.outcomes] == [
        ("ticket", 0, 42),
        ("dense", 0, 42),
        ("ticket", 1, 21),
        ("random_reinit", 1, 21),
        ("random_mask", 1, 21),
        ("ticket", 2, 10),
        ("random_reinit", 2, 10),
        ("random_mask", 2, 10),
    ]
    ticket, dense = result.of("ticket")[0], result.of("dense")[0]
    assert ticket.test_accuracy == dense.test_accuracy
    curves = rows(tmp_path / "run", "curves")
    assert [c["step"] for c in curves if c["level"] == 1] == [5, 10] * 3
    assert {c["level"]: c["awake"] for c in curves} == {0: 1.0, 1: 0.5, 2: 10 / 42}
    for level in (1, 2):
        stores = [masks(tmp_path / "run", f"{arm}-s0-l{level}") for arm in ARMS]
        counts = [{n: s.asleep_count(n) for n in s.names()} for s in stores]
        assert counts[0] == counts[1] == counts[2]
        assert stores[0].digest() == stores[1].digest() != stores[2].digest()
    journal = rows(tmp_path / "run", "journal")
    assert [(j["level"], j["step"], j["action"]) for j in journal if j["arm"] == "ticket"] == [
        (1, 0, "Sleep"),
        (1, 0, "Rewind"),
        (2, 0, "Sleep"),
        (2, 0, "Rewind"),
    ]
    assert RunData.load(tmp_path / "run").finished


def test_own_parts(tmp_path: Path) -> None:
    module = nn.Linear(4, 3)
    before = module.weight.detach().clone()
    result = run(
        TRAIN,
        out=tmp_path / "run",
        data=blobs(),
        model=module,
        loss_fn=lambda output, y: nn.functional.multi_margin_loss(output, y),
        optimizer=lambda model: torch.optim.Adam(model.parameters(), lr=0.01),
        progress=False,
    )
    assert torch.equal(module.weight, before)  # a copy was trained
    assert [one.maskable for one in result.outcomes] == [12, 12]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["model"]["name"] == "Linear"


def test_settings_win_and_are_kept(tmp_path: Path) -> None:
    result = run(TRAIN, out=tmp_path / "run", data=blobs(), overrides=["seeds=[8]"], progress=False)
    assert [one.seed for one in result.outcomes] == [8]
    assert load(tmp_path / "run" / "config.yaml").seeds == (8,)


WEIGHT = nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("config", "change", "kind", "words"),
    [
        (TRAIN.replace("0.5", "1.5"), {}, ConfigError, "1.5"),
        (TRAIN, {"optimizer": torch.optim.SGD([WEIGHT])}, SetupError, "lambda"),
        (TRAIN, {"model": 3}, SetupError, "model=3"),
        (TRAIN, {"model": lambda data, seed: 3}, SetupError, "gave a int"),
        (TRAIN, {"optimizer": lambda model: 3}, SetupError, "gave a int"),
        (TRAIN, {"data": 3}, SetupError, "must be a pipeline.Data"),
        (EARLY, {"model": nn.Linear(4, 3)}, SetupError, "random_reinit draws weights anew"),
        (LATE.replace("4it", "2ep"), {}, ConfigError, ":9:5: lottery: rewinds to '2ep' .step 10."),
        (TRAIN.replace("once: 1ep", "once: 9ep"), {}, ConfigError, "9ep.* never fires"),
    ],
)
def test_errors_come_before_anything_is_written(
    tmp_path: Path, config: str, change: dict[str, Any], kind: type[Exception], words: str
) -> None:
    given = {"data": blobs(), **change}
    with pytest.raises(kind, match=words):
        run(config, out=tmp_path / "run", progress=False, **given)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    def broken(output: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, y) * float("nan")

    with pytest.raises(TrainingError, match="training loss before step 5 is nan"):
        run(PLAIN, out=tmp_path / "run", data=blobs(), loss_fn=broken, progress=False)
    assert RunData.load(tmp_path / "run").meta.status == "failed"
