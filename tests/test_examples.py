"""Every example runs in a short form and shows what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
LONGEST = 60


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ignite_gradual():
    result = load("ignite_gradual").main(epochs=3)
    assert result["asleep"] == pytest.approx(0.9, abs=1e-4)


def test_plain_loop_rigl():
    result = load("plain_loop_rigl").main(epochs=3)
    assert result["asleep"] == pytest.approx(0.8, abs=1e-3)
    assert result["moved"] > 100


def test_lottery_ticket():
    table = load("lottery_ticket").main(levels=2, epochs=1)
    assert [round(awake, 3) for awake, _, _ in table] == [1.0, 0.8, 0.64]
    assert table[0][1] == table[0][2]  # nothing sleeps yet: both arms are the same run


def test_adopt_sparse_checkpoint():
    zeros = load("adopt_sparse_checkpoint").main(epochs=1)
    assert zeros["adopted"] == zeros["before"] == 5120
    assert zeros["plain"] < 100


def test_custom_connections():
    result = load("custom_connections").main(epochs=1)
    assert result["off_graph"] == 0.0
    assert result["edges"] == 484


def test_wake_on_plateau():
    shares = load("wake_on_plateau").main(epochs=20)
    assert shares[0] == pytest.approx(0.95, abs=1e-3)
    assert shares[-1] == pytest.approx(0.95 * 0.75, abs=1e-3)


def test_custom_scorer():
    assert set(load("custom_scorer").main(epochs=1)) == {"magnitude", "pushed", "pushed, smoothed"}


def test_direct_calls():
    assert load("direct_calls").main() == {
        "leak": 0.0,
        "kept": True,
        "back": True,
        "exact": True,
        "left": 0.0,
    }


def test_mask_training():
    table = load("mask_training").main(steps=250, pretrain=500, width=30)
    assert min(table["no mask"]) > 0.85
    assert table["digit"][0] > 0.7 > table["digit"][1]  # a mask answers its own task
    assert table["odd"][1] > 0.7 > table["odd"][0]


def test_supermask():
    results = load("supermask").main(epochs=5, width=100)
    assert results["learned"] > 0.8 > 0.3 > max(results["random"], results["no mask"])
    assert results["changed"] == 0


def test_task_masks():
    rows = load("task_masks").main(steps=30, width=40)
    assert all(same and right > 0.8 for right, same in rows)


def test_every_example_is_run_and_short():
    files = sorted(FOLDER.glob("*.py"))
    assert {f"test_{path.stem}" for path in files} <= set(globals())
    for path in files:
        assert len(path.read_text().splitlines()) < LONGEST, path.name
