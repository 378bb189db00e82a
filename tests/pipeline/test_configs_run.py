"""Every file in configs/ runs to its end in a short form: rules act, all networks are scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sleepengine.pipeline import build, load, run
from sleepengine.report.run_data import RunData

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SHORT = ("seeds=[0]", "train.length=3ep", "train.evaluate=1ep")
SMALL = "model.mlp.sizes=[16, 12]"
# Where "three epochs" is not all that has to be shorter.
ALSO: dict[str, Sequence[str]] = {
    "add_multiply": ("train.length=1ep", "mask_training.length=1ep", "model.mlp.sizes=[16]"),
    "gradual_agp": ("rules.0.when.every.interval=5%",),
    "grow": ("train.length=12ep",),
    "lottery_ticket": ("lottery.levels=2", SMALL),
    "lottery_ticket_late_rewind": ("lottery.levels=2", SMALL),
    "lottery_ticket_mnist": (
        "lottery.levels=2",
        "data={mnist: {valid: 30}}",
        "train.batch_size=10",
    ),
    "lr_rewind": ("lottery.levels=2", SMALL),
    "mask_training": ("mask_training.length=2ep",),
    "movement": ("rules.0.when.every.interval=1it", "rules.1.when.every.interval=1it"),
    "n_of_m": ("rules.0.when.once=1ep",),
    "oneshot_magnitude": ("rules.0.when.once=1ep",),
    "obs": ("rules.0.who.batches=2", "model.mlp.sizes=[6]"),
    "supermask": ("supermask.asleep=[0.5]",),
    "task_masks": ("train.length=1ep",),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set in the form of MNIST, a hundred images large."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (100, 28, 28), dtype=np.uint8),
        "y_train": np.arange(100, dtype=np.uint8) % 10,
        "x_test": generator.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_test": np.arange(20, dtype=np.uint8) % 10,
    }
    np.savez(folder / "mnist.npz", **arrays)
    return folder


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_runs(path: Path, images: Path, tmp_path: Path) -> None:
    config = load(path, overrides=[*SHORT, *ALSO.get(path.stem, ())])
    result = run(config, out=tmp_path / "run", data_folder=images, progress=False)
    assert result.status == "finished"
    arms = {one.arm for one in result.outcomes}
    if config.lottery is not None:
        assert arms == set(config.lottery.arms)
        assert {one.level for one in result.outcomes} == {0, 1, 2}
    assert all(one.test_accuracy is not None for one in result.outcomes)
    data = RunData.load(tmp_path / "run")
    fired = {line.rule for line in data.journal}
    rules = build.level_rules(config) if config.lottery else build.rules(config)
    # Dormancy, maturity and a plateau may have nobody to act on in so short a run.
    sure = {rule.name for rule in rules if rule.when.time_only and not _may_find_none(path.stem)}
    assert sure - fired == set(), f"{path.stem}: {sure - fired} never acted"


def _may_find_none(name: str) -> bool:
    return name in ("redo", "continual_backprop", "finetune_sparse")


def test_the_shorter_forms_are_of_files_that_exist() -> None:
    assert set(ALSO) <= {path.stem for path in FILES}
