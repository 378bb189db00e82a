"""Tables and sentences of experiments with masks, from made-up results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sleepengine.report.headline import headline
from sleepengine.report.mask_charts import mask_curves, mask_results
from sleepengine.report.mask_results import story_of
from sleepengine.report.page import render_page
from sleepengine.report.records import CurvePoint
from sleepengine.report.run_data import RunData
from sleepengine.report.tables import result_cells
from sleepengine.report.terminal import show_table

META = {
    "name": "made up",
    "status": "finished",
    "started": "2025-03-01T10:00:00+00:00",
    "finished": "2025-03-01T10:01:00+00:00",
    "seconds": 60.0,
    "data": {"name": "digits", "train": 10, "valid": 5, "test": 5, "input_shape": [4]},
    "model": {"name": "mlp", "parameters": 10, "maskable": 8},
    "versions": {"torch": "2"},
    "config_sha256": "0" * 64,
    "device": "cpu",
    "format": 1,
}


def result(arm: str, seed: int, level: int, awake: float, accuracy: float, **more: Any) -> Any:
    return {
        "arm": arm,
        "seed": seed,
        "level": level,
        "awake": awake,
        "awake_count": round(8 * awake),
        "maskable": 8,
        "test_accuracy": accuracy,
        "test_loss": 1.0,
        "valid_accuracy": None,
        "valid_loss": None,
        "best_valid_step": None,
        "best_valid_accuracy": None,
        "best_test_accuracy": None,
        "steps": 1,
        "seconds": 1.0,
        **more,
    }


def written(folder: Path, experiment: str, results: list[Any]) -> RunData:
    arms = list(dict.fromkeys(one["arm"] for one in results))
    seeds = sorted({one["seed"] for one in results})
    meta = {**META, "experiment": experiment, "arms": arms, "seeds": seeds}
    (folder / "run.json").write_text(json.dumps(meta))
    (folder / "config.yaml").write_text(f"experiment: {experiment}\n")
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in results))
    return RunData.load(folder)


@pytest.fixture
def masks(tmp_path: Path) -> RunData:
    def on(label: float, odd: float, **more: Any) -> dict[str, Any]:
        return {"tasks": {"label": label, "odd": odd}, **more}

    return written(
        tmp_path,
        "mask_training",
        [
            result("network", 0, 0, 1.0, 0.9, **on(0.9, 0.95)),
            result("label", 0, 0, 0.5, 0.8, **on(0.8, 0.2, shared=0.25)),
            result("without_label", 0, 0, 0.5, 0.1, **on(0.1, 0.6)),
        ],
    )


@pytest.fixture
def scores(tmp_path: Path) -> RunData:
    values = {0: (0.8, 0.1), 1: (0.9, 0.2)}
    return written(
        tmp_path,
        "supermask",
        [
            result(arm, seed, level, 0.75 - 0.5 * level, values[level][i] + 0.02 * seed)
            for seed in (0, 1)
            for level in (0, 1)
            for i, arm in enumerate(("supermask", "random_mask"))
        ],
    )


@pytest.fixture
def tasks(tmp_path: Path) -> RunData:
    def row(arm: str, level: int, then: float, now: float, awake: float = 1.0) -> Any:
        return result(arm, 0, level, awake, now, then_accuracy=then, unchanged=then == now)

    return written(
        tmp_path,
        "task_masks",
        [
            row("packnet", 0, 1.0, 1.0, 0.5),
            row("packnet", 1, 0.9, 0.9, 0.75),
            row("finetune", 0, 1.0, 0.6),
            row("finetune", 1, 0.95, 0.95),
        ],
    )


def test_every_mask_on_every_task(masks):
    assert result_cells(masks) == (
        ("mask", "weights left", "on label", "on odd", "shared"),
        ("no mask", "100%", "90.0", "95.0", "–"),
        ("label", "50.0%", "80.0", "20.0", "25.0"),
        ("without label", "50.0%", "10.0", "60.0", "–"),
    )
    first, second, *_ = headline(masks)
    assert first == "The masks reach 80.0% on label with 50.0% of the weights."
    assert second == "Of all weights that the tasks use, label shares 25.0% with another."


def test_a_supermask_against_chance(scores):
    # Two seeds, 0.02 apart: t(0.975, 1) * 0.02 / sqrt(2) / sqrt(2) = 12.706 * 0.01.
    assert result_cells(scores) == (
        ("weights left", "supermask", "random mask", "supermask − random mask"),
        ("75.0%", "81.0 ± 12.7", "11.0 ± 12.7", "+70.0 ± 0.0"),
        ("25.0%", "91.0 ± 12.7", "21.0 ± 12.7", "+70.0 ± 0.0"),
    )
    assert "the best mask keeps 25.0% of them and reaches 91.0" in headline(scores)[0]


def test_tasks_then_and_now(tasks):
    assert result_cells(tasks) == (
        ("task", "weights left", "packnet, then", "packnet, now", "packnet, same",
         "finetune, then", "finetune, now", "finetune, same"),
        ("1", "50.0%", "100.0", "100.0", "1 of 1", "100.0", "60.0", "0 of 1"),
        ("2", "75.0%", "90.0", "90.0", "1 of 1", "95.0", "95.0", "1 of 1"),
    )  # fmt: skip
    packed, control, *_ = headline(tasks)
    assert packed.startswith("packnet: 2 of 2 tasks give the outputs")
    assert control.startswith("finetune: 1 of 2")
    assert control.endswith("now 77.5%.")


@pytest.mark.parametrize("name", ["masks", "scores", "tasks"])
def test_pages_and_the_terminal_tell_the_story(name, request):
    run = request.getfixturevalue(name)
    story = story_of(run)
    page = render_page(run)
    assert story.over in page
    assert page.count("<svg") == (0 if name == "masks" else 1)  # no curves, no layers here
    assert headline(run)[-1].replace(" ± ", "\u00a0±\u00a0") in page or "Student" in page
    assert show_table(run).notes == (story.caption,)


def test_layers_that_tasks_share(masks):
    layers = {"fc1": 0.5, "fc2": 0.25}
    results = [replace(r, shared_layers=layers) if r.arm == "label" else r for r in masks.results]
    (chart,) = mask_results(replace(masks, results=tuple(results)))
    assert chart.alt == "Weights shared with another task. label: fc1 50.0%, fc2 25.0%."


def test_then_and_now_in_one_chart(tasks):
    (chart,) = mask_results(tasks)
    assert "finetune: task 1 100% then, 60.0% now, task 2 95.0% then, 95.0% now." in chart.alt


def curve(arm: str, level: int, step: int, accuracy: float, awake: float) -> CurvePoint:
    return CurvePoint(arm, 0, level, step, 0.0, 1.0, 1.0, accuracy, awake, {"fc1.weight": awake})


def test_how_masks_and_tasks_were_learned(masks, scores, tasks):
    points = (curve("network", 0, 5, 0.5, 1.0), curve("label", 0, 5, 0.8, 0.5))
    accuracy, awake = mask_curves(replace(masks, curves=points))
    assert accuracy.alt.endswith("At the end: network 50.0%, label 80.0%.")
    assert awake.alt.endswith("At the end: label 50.0%.")
    (levels,) = mask_curves(replace(scores, curves=(curve("supermask", 0, 5, 0.8, 0.75),)))
    assert "supermask" in levels.alt
    points = tuple(curve("packnet", k, s, 0.6 + 0.1 * k, 0.5) for k in (0, 1) for s in (5, 10))
    accuracy, _ = mask_curves(replace(tasks, curves=points))
    assert accuracy.alt.endswith("At the end: packnet 70.0%.")
    axes = accuracy.figure.axes[0]
    joined = next(line for line in axes.lines if len(line.get_xdata()) > 2)
    assert [float(x) for x in joined.get_xdata()] == [5, 10, 10, 15, 20]


@pytest.mark.parametrize("experiment", ["mask_training", "supermask", "task_masks"])
def test_runs_without_results_yet(tmp_path, experiment):
    run = written(tmp_path, experiment, [])
    assert len(result_cells(run)) == 1
    assert headline(run) == ("No network has been trained to the end yet.",)
    assert story_of(run).over in render_page(run)
