"""What can be a loader of a run, and what is said of what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

from sleepengine import SetupError
from sleepengine.errors import ConfigError
from sleepengine.pipeline import Loaders, Options, Plugins, run
from sleepengine.pipeline.problems.loaders import LoaderData, generators

CONFIG = """\
model: {mlp: {sizes: [6]}}
train: {length: 3ep}
rules: []
"""
QUIET = Options(progress=False)
NUMBERS = TensorDataset(torch.zeros(48, 4), torch.arange(48) % 3)


class Endless(IterableDataset):
    def __iter__(self) -> Any:
        return iter([])


class Short(list):
    """Says eight batches, gives two."""

    def __len__(self) -> int:
        return 8


BATCH = (torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))
MASKS = CONFIG[: CONFIG.index("rules")] + "experiment: supermask\nsupermask: {asleep: [0.5]}\n"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: {"loader": 3}, SetupError, "train must be a loader that can be iterated .* int"),
        (lambda: {"loader": iter([BATCH])}, SetupError, "again and again, found list_iterator"),
        (lambda: {"loader": DataLoader(Endless())}, SetupError, "has no length"),
        (lambda: {"loader": []}, SetupError, "has no length, or none but 0"),
        (lambda: {"loader": [BATCH[0]]}, SetupError, "must be two: input, and target.*Tensor"),
        (lambda: {"loader": [(*BATCH, 3)]}, SetupError, "a tuple of Tensor, Tensor, int"),
        (lambda: {"loader": [BATCH], "data": 3}, SetupError, "data= and loader= were both given"),
        (lambda: {"data": DataLoader(NUMBERS)}, SetupError, "DataLoader is given as loader="),
        (
            lambda: {"loader": [BATCH]},
            ConfigError,
            r"<text>:1:8: .*how many classes\? give Loaders",
        ),
        (
            lambda: {"loader": [BATCH], "config": MASKS},
            SetupError,
            "supermask needs its data in me",
        ),
        (
            lambda: {"loader": [BATCH], "options": Options(workers=2)},
            SetupError,
            "workers=2 needs everything by name: .*loader=",
        ),
    ],
)
def test_what_cannot_be_a_loader_is_told_before_anything_is_written(
    make: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    asked = {"config": CONFIG, "options": QUIET, **make()}
    with pytest.raises(error, match=words):
        run(out=tmp_path / "r", **asked)
    assert not (tmp_path / "r").exists()


def test_a_loader_that_ends_before_its_length_is_told(tmp_path: Path) -> None:
    given = Loaders(Short([BATCH, BATCH]), classes=3)
    with pytest.raises(SetupError, match="ended after 2 batches, and its length says 8"):
        run(CONFIG, loader=given, out=tmp_path / "r", options=QUIET)


def test_all_generators_of_a_loader_are_found_once() -> None:
    one, two = torch.Generator(), torch.Generator()
    both = DataLoader(NUMBERS, sampler=RandomSampler(NUMBERS, generator=one), generator=two)
    assert generators(both) == [one, two]
    assert generators(DataLoader(NUMBERS)) == []
    assert generators([BATCH]) == []


def test_parts_of_loaders_have_names() -> None:
    data = LoaderData(Loaders(DataLoader(NUMBERS), valid=[BATCH] * 3))
    assert [len(data.split(part)) for part in ("train", "valid", "test")] == [48, 3, 0]
    with pytest.raises(SetupError, match=r"unknown split 'tests'\. Did you mean 'test'"):
        data.split("tests")


def test_a_plug_in_may_give_loaders(tmp_path: Path) -> None:
    def numbers(batch: int = 4) -> Loaders:
        return Loaders(DataLoader(NUMBERS, batch_size=batch), classes=3, name="numbers")

    text = CONFIG + "data: {numbers: {batch: 16}}\n"
    plugins = Plugins(data={"numbers": numbers})
    result = run(text, plugins=plugins, out=tmp_path / "r", options=QUIET)
    assert result.outcomes[0].steps == 9
    with pytest.raises(ConfigError, match="broken gave int, neither a pipeline"):
        run(CONFIG + "data: broken\n", plugins=Plugins(data={"broken": lambda: 3}))
