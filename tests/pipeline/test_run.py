"""Runs from configurations: what they write, and that every arm begins as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sleepengine.errors import ConfigError, SetupError, UnknownNameError
from sleepengine.files import container
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.experiments import lottery
from sleepengine.pipeline.experiments.jobs import Job
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split
from sleepengine.pipeline.running import run
from sleepengine.pipeline.training.evaluate import Score, evaluate
from sleepengine.pipeline.training.network import State, make
from sleepengine.pipeline.training.train import TrainingError
from sleepengine.report.run_data import RunData

TRAIN = """
name: half
model: {mlp: {sizes: [6]}}
train: {length: 3ep, batch_size: 8, optimizer: {SGD: {lr: 0.2}}}
seeds: [3, 1]
rules:
  - {when: {once: 1ep}, who: {scorer: Magnitude, amount: {to: 0.5}}, what: Sleep}
"""
PLAIN = TRAIN[: TRAIN.index("rules")]
LOTTERY = """
name: tickets
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 2ep, batch_size: 8, optimizer: {Adam: {lr: 0.05}}}
lottery:
  levels: 2
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.5}}, what: Sleep}
    - what: {Rewind: {to: POINT}}
  arms: [ticket, random_reinit, random_mask, dense]
"""
ARMS = ("ticket", "random_reinit", "random_mask")
EARLY, LATE = LOTTERY.replace("POINT", "init"), LOTTERY.replace("POINT", "4it")


def blobs(valid: int = 15) -> Data:
    """Three classes of points: 40 to train on, some to validate, 15 to test."""
    generator = torch.Generator().manual_seed(5)
    y = torch.arange(70) % 3
    x = torch.randn(70, 4, generator=generator) + 2.0 * torch.eye(3, 4)[y]
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 40), (40, 40 + valid), (55, 70))]
    return Data("blobs", *parts, (4,), 3, Scaling(1.0, 0.0, 1.0))


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


def _begin(config: str, arm: str, level: int) -> tuple[Parts, State, Any]:
    """A ticket that was trained a little, and the network of an arm as it begins on top of it."""
    parts = Parts.of(load(config), None, Given(data=blobs()))
    ticket = make(parts, 0)
    ticket.engine.attach(steps_per_epoch=5, total_steps=10)
    for step, (x, y) in enumerate(parts.batches(0)):
        ticket.optimizer.zero_grad()
        nn.functional.cross_entropy(ticket.model(x), y).backward()
        ticket.optimizer.step()
        if step == 3:
            at_four = {n: p.detach().clone() for n, p in ticket.model.named_parameters()}
    ticket.engine.detach()
    state = ticket.state_dict()
    return parts, {**state, "at_four": at_four}, lottery.begin(parts, Job(arm, 0, level), state)


def test_the_ticket_begins_with_its_first_weights() -> None:
    parts, _, network = _begin(EARLY, "ticket", 1)
    first = dict(parts.model(0).named_parameters())
    for name, parameter in network.model.named_parameters():
        awake = network.engine.store.awake(name)
        kept = torch.ones_like(parameter, dtype=torch.bool) if awake is None else awake
        assert torch.equal(parameter[kept], first[name][kept])
        assert not parameter[~kept].any()
    assert (network.awake_count, network.start, network.optimizer.state_dict()["state"]) == (
        21,
        0,
        {},
    )


def test_controls_have_the_tickets_counts_and_other_weights_or_places() -> None:
    parts, _, ticket = _begin(EARLY, "ticket", 1)
    level = ticket.state_dict()
    wanted = {n: ticket.engine.store.asleep_count(n) for n in ticket.engine.scope}
    assert sum(wanted.values()) == 21
    first = dict(parts.model(0).named_parameters())
    reinit = lottery.begin(parts, Job("random_reinit", 0, 1), level)
    places = lottery.begin(parts, Job("random_mask", 0, 1), level)
    for name in ticket.engine.scope:
        awake = ticket.engine.store.awake(name)
        assert awake is not None
        assert torch.equal(reinit.engine.store.awake(name), awake)
        drawn = dict(reinit.model.named_parameters())[name]
        assert not torch.equal(drawn[awake], first[name][awake])
        assert places.engine.store.asleep_count(name) == wanted[name]
        there = places.engine.store.awake(name)
        assert there is not None
        assert torch.equal(dict(places.model.named_parameters())[name][there], first[name][there])
    assert places.engine.store.digest() != ticket.engine.store.digest()
    again = lottery.begin(parts, Job("random_mask", 0, 1), level)
    assert again.engine.store.digest() == places.engine.store.digest()


@pytest.mark.parametrize("arm", ["ticket", "random_mask"])
def test_a_late_rewind_begins_at_its_step_with_its_weights(arm: str) -> None:
    _, state, network = _begin(LATE, arm, 1)
    assert network.start == network.engine.time.iteration == 4
    for name, parameter in network.model.named_parameters():
        awake = network.engine.store.awake(name)
        kept = torch.ones_like(parameter, dtype=torch.bool) if awake is None else awake
        assert torch.equal(parameter[kept], state["at_four"][name][kept])
    # Adam has taken four steps at the kept point.
    steps = [float(s["step"]) for s in network.optimizer.state_dict()["state"].values()]
    assert steps == [4.0] * 4


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


class Half(nn.Module):
    """Class 0 for the first feature below zero, else class 1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-x[:, 0], x[:, 0]], dim=1)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_evaluate_does_not_depend_on_the_batch(batch: int) -> None:
    split = Split(torch.tensor([[-1.0], [1.0], [2.0]]), torch.tensor([0, 0, 1]))
    model = nn.Sequential(Half(), nn.Dropout(0.5))
    model[1].eval()
    score = evaluate(model, split, nn.functional.cross_entropy, batch_size=batch)
    # -log of 1/(1+e^-2), 1/(1+e^2), 1/(1+e^-4)
    assert score.loss == pytest.approx((0.126928 + 2.126928 + 0.018150) / 3, abs=1e-6)
    assert score.accuracy == 2 / 3
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_evaluate_without_classes() -> None:
    mean: Callable[[Tensor, Tensor], Tensor] = nn.functional.mse_loss
    split = Split(torch.ones(4, 1), torch.zeros(4, 1))
    assert evaluate(nn.Identity(), split, mean) == Score(1.0, None, 4)
    assert evaluate(nn.Identity(), Split(torch.ones(0, 1), torch.zeros(0)), mean).loss is None
