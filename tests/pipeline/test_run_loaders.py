"""Runs with the user's own loaders: equal batches for equal seeds, resumed to the same end."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    TensorDataset,
    WeightedRandomSampler,
)

from sleepengine import ResumableSampler, StateError
from sleepengine.pipeline import Data, Loaders, Options, Split, resume, run
from sleepengine.pipeline.plan import plan
from sleepengine.pipeline.training.train import Training
from sleepengine.report import write_report

CONFIG = """\
model: {mlp: {sizes: [6]}}
train:
  length: 3ep
  optimizer: {SGD: {lr: 0.1, momentum: 0.9}}
  evaluate: 4it
seeds: [0, 1]
rules:
  - when: {every: {interval: 3it, before: 12it}}
    who: {scorer: Gradient, amount: {to: {linear: [0.1, 0.5]}}}
    what: Sleep
"""
LOTTERY = """\
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 2ep}
lottery:
  levels: 1
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.5}}, what: Sleep}
    - what: {Rewind: {to: 5it}}
  arms: [ticket, random_mask]
"""
QUIET = Options(progress=False)
SAVING = Options(progress=False, save_seconds=0.0)


def samples(count: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 4, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


class Noisy(Dataset):
    """Samples with noise that is drawn anew at each look, from all three random states."""

    def __init__(self) -> None:
        self.x, self.y = samples()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(4) + random.gauss(0.0, 1.0) + float(np.random.randn())
        return self.x[i] + 0.1 * noise, self.y[i]


def plain(dataset: Dataset | None = None, **how: Any) -> DataLoader:
    return DataLoader(dataset or TensorDataset(*samples()), batch_size=6, **how)


def loader(kind: str) -> DataLoader:
    """A new loader of the kind, as a new process would have."""
    if kind == "shuffled":
        return plain(shuffle=True)
    if kind == "noisy":
        return plain(Noisy(), shuffle=True)
    if kind == "generator":
        return plain(Noisy(), shuffle=True, generator=torch.Generator().manual_seed(3))
    if kind == "weighted":
        return plain(sampler=WeightedRandomSampler(torch.arange(1.0, 49.0), 48))
    if kind == "ordered":
        return plain()
    if kind == "workers":
        return plain(Noisy(), shuffle=True, num_workers=1)
    own = ResumableSampler(48, batch_size=6, seed=9)
    return DataLoader(TensorDataset(*samples()), batch_sampler=own, generator=own.generator)


def held() -> DataLoader:
    return DataLoader(TensorDataset(*samples(20)), batch_size=7)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def interrupted(monkeypatch: pytest.MonkeyPatch, at: int, work: Any) -> None:
    """Ctrl-C at the step with this number, counted over all networks."""
    step, count = Training._step, [0]

    def pressed(self: Training, *rest: Any) -> Tensor:
        count[0] += 1
        if count[0] == at:
            raise KeyboardInterrupt
        return step(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_step", pressed)
        with pytest.raises(KeyboardInterrupt):
            work()


KINDS = ["shuffled", "noisy", "generator", "weighted", "ordered", "own sampler", "workers"]


def given(kind: str) -> Loaders:
    return Loaders(loader(kind), valid=held(), test=held(), classes=3)


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind of loader, and the folder of a run of it that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = run(CONFIG, loader=given(request.param), out=folder, options=QUIET)
    assert [one.steps for one in result.outcomes] == [24, 24]
    return request.param, folder


@pytest.mark.parametrize("at", [6, 9, 36], ids=["mid-epoch", "epoch end", "second seed"])
def test_a_resumed_run_ends_like_one_that_was_not_interrupted(
    whole: tuple[str, Path], at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, folder = whole
    part = tmp_path / "part"
    torch.manual_seed(at)  # what the process drew before is no matter
    interrupted(monkeypatch, at, lambda: run(CONFIG, loader=given(kind), out=part, options=SAVING))
    torch.manual_seed(at + 1)
    resume(part, loader=given(kind), options=QUIET)
    for name in ("curves.jsonl", "journal.jsonl", "results.jsonl"):
        assert lines(part, name) == lines(folder, name)
    assert [path.read_bytes() for path in sorted((part / "masks").iterdir())] == [
        path.read_bytes() for path in sorted((folder / "masks").iterdir())
    ]


def seen(monkeypatch: pytest.MonkeyPatch, work: Any) -> list[list[float]]:
    """The first number of every sample of every batch that was trained on."""
    step, batches = Training._step, []

    def noted(self: Training, engine: Any, batch: Any) -> Tensor:
        batches.append(batch[0][:, 0].tolist())
        return step(self, engine, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_step", noted)
        work()
    return batches


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Loaders(loader("shuffled"), classes=3)
    found = seen(monkeypatch, lambda: run(CONFIG, loader=given, out=tmp_path / "r", options=QUIET))
    epochs = [[n for batch in found[i : i + 8] for n in batch] for i in range(0, 48, 8)]
    everything = sorted(samples()[0][:, 0].tolist())
    assert [sorted(epoch) for epoch in epochs] == [everything] * 6
    assert len({tuple(epoch) for epoch in epochs}) == 6  # three epochs, two seeds


def test_all_arms_of_a_lottery_see_the_same_batches_from_the_kept_point_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Loaders(loader("shuffled"), test=held(), classes=3)
    found = seen(monkeypatch, lambda: run(LOTTERY, loader=given, out=tmp_path / "r", options=QUIET))
    dense, ticket, control = found[:16], found[16:27], found[27:]
    assert ticket == control == dense[5:]


def test_a_loader_alone_and_a_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    text = CONFIG.replace("evaluate: 4it", "evaluate: 1ep")
    before = torch.get_rng_state()
    result = run(text, loader=loader("noisy"), model=model, out=tmp_path / "r", options=QUIET)
    assert torch.equal(torch.get_rng_state(), before)
    assert {one.test_accuracy for one in result.outcomes} == {None}
    meta = json.loads((tmp_path / "r" / "run.json").read_text())
    assert meta["data"]["name"] == "loader"
    assert [meta["data"][part] for part in ("train", "valid", "test")] == [48, 0, 0]
    assert meta["data"]["input_shape"] == [4]
    assert meta["model"]["name"] == "Linear"
    page = write_report(tmp_path / "r")
    assert page.stat().st_size > 1000


def test_loaders_give_what_data_in_memory_give(tmp_path: Path) -> None:
    """The same batches in the same order: the same run, to the bit."""
    x, y = samples()
    split, test = Split(x, y), Split(*samples(20))
    data = Data("loader", split, test, test, (4,), 3)
    text = CONFIG.replace("  length", "  batch_size: 6\n  length").replace("[0, 1]", "[9]")
    run(text, data=data, out=tmp_path / "memory", options=QUIET)
    given = Loaders(loader("own sampler"), valid=held(), test=held(), classes=3)
    run(text, loader=given, out=tmp_path / "loaders", options=QUIET)
    for name in ("journal.jsonl", "curves.jsonl"):
        memory, loaders = lines(tmp_path / "memory", name), lines(tmp_path / "loaders", name)
        for row in (*memory, *loaders):  # summed in batches of another size
            row.pop("valid_loss", None)
        assert memory == loaders


def test_plan_and_another_loader_on_resuming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = Loaders(loader("ordered"), classes=3)
    made = plan(CONFIG, loader=given)
    assert (made.steps_per_epoch, made.total_steps) == (8, 24)
    out = tmp_path / "r"
    interrupted(monkeypatch, 5, lambda: run(CONFIG, loader=given, out=out, options=SAVING))
    shorter = Loaders(plain(TensorDataset(*samples(36))), classes=3)
    with pytest.raises(StateError, match="data: train was 48 when the run began, now 36"):
        resume(out, loader=shorter, options=QUIET)
