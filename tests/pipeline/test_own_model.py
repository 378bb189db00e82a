"""A configuration without `model:`, for a run that is given a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sleepengine.errors import ConfigError
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.plan import plan
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.running import run
from sleepengine.pipeline.verifying import verify

TEXT = """
name: mine
train: {length: 2ep, batch_size: 8}
rules:
  - {when: {once: 1ep}, who: {scorer: Magnitude, amount: {to: 0.5}}, what: Sleep}
"""
NEEDS = "needs 'model'"


def points() -> Data:
    x = torch.arange(80, dtype=torch.float32).remainder(7).reshape(20, 4) / 7
    y = torch.arange(20) % 2
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 12), (12, 16), (16, 20))]
    return Data("points", *parts, (4,), 2, Scaling(1.0, 0.0, 1.0))


def own(data: Data, seed: int) -> nn.Module:
    return nn.Linear(4, 2)


def test_a_run_with_a_model_of_ones_own(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(TEXT, out=folder, data=points(), model=own, progress=False)
    assert result.of("train")[0].awake_count == 4
    assert (folder / "config.yaml").read_text() == TEXT
    assert [check for check in verify(folder) if not check.ok] == []
    assert resume(folder, data=points(), model=own, progress=False).status == "finished"
    assert plan(TEXT, data=points(), model=own).model == "Linear"


def test_one_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    folder, left = tmp_path / "run", [3]

    def stops(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        left[0] -= output.requires_grad
        if left[0] < 0:
            raise KeyError("cut off")
        return nn.functional.cross_entropy(output, target)

    with pytest.raises(KeyError):
        run(TEXT, out=folder, data=points(), model=own, loss_fn=stops, progress=False)
    with pytest.raises(ConfigError, match=NEEDS):
        resume(folder, data=points(), progress=False)
    left[0] = 99
    again = resume(folder, data=points(), model=own, loss_fn=stops, progress=False)
    assert again.status == "finished"
    assert again.of("train")[0].awake_count == 4


def test_neither_is_an_error_that_says_so(tmp_path: Path) -> None:
    for attempt in (
        lambda: load(TEXT),
        lambda: run(TEXT, out=tmp_path / "run", data=points(), progress=False),
        lambda: plan(TEXT, data=points()),
    ):
        with pytest.raises(ConfigError, match=rf"<text>:.*{NEEDS}: .*run\(model=\.\.\.\)"):
            attempt()
    assert not (tmp_path / "run").exists()


def test_a_configuration_that_was_read_for_a_model(tmp_path: Path) -> None:
    config = load(TEXT, own_model=True)
    assert load(config.dump(), own_model=True) == config
    with pytest.raises(ConfigError, match=rf"<text>:.*{NEEDS}, since no model= was given"):
        run(config, out=tmp_path / "run", data=points(), progress=False)
    run(config, out=tmp_path / "run", data=points(), model=own, progress=False)


def test_a_wrong_model_is_wrong_all_the_same() -> None:
    with pytest.raises(ConfigError, match="lenet_300_10"):
        load(TEXT + "model: lenet_300_10\n", own_model=True)
