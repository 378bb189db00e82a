"""Runs of experiments with masks, and of several kinds, side by side."""

import json

import pytest

from sleepengine.errors import SetupError
from sleepengine.report.page import render_compare
from sleepengine.report.rows import compare_rows, unlike
from sleepengine.report.run_data import RunData
from sleepengine.report.tables import compare_cells
from sleepengine.report.terminal import compare_table


@pytest.fixture
def tasks(make_run):
    """Two tasks, accuracies of two seeds: 1.0 and 0.8, 0.9 and 0.7."""
    path = make_run(experiment="task_masks", arms=("packnet",), seeds=(0, 1), name="tasks")
    rows = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    made = [
        {**row, "level": level, "test_accuracy": 1.0 - 0.1 * row["seed"] - 0.2 * level}
        for row in rows
        for level in (0, 1)
    ]
    (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return RunData.load(path)


def test_tasks_are_averaged_seed_by_seed(tasks):
    (row,) = compare_rows([tasks])
    assert row.of == "mean of 2 tasks"
    assert row.accuracy.mean == pytest.approx((0.9 + 0.8) / 2)
    assert row.accuracy.n == 2


def test_a_column_says_what_is_measured(tasks, make_train):
    plain = RunData.load(make_train(seeds=(0,)))
    assert "measured" not in compare_cells([plain])[0]
    header, *rows = compare_cells([tasks, plain])
    assert header[5] == "measured"
    assert [row[5] for row in rows] == ["mean of 2 tasks", "test data"]
    table = compare_table([tasks, plain])
    assert table.notes == (unlike([tasks, plain]),)
    assert "several kinds (task_masks, train)" in table.notes[0]
    assert unlike([plain]) == ""
    page = render_compare([tasks, plain])
    assert "several kinds" in page
    assert page.count("<svg") == 2


def test_masks_are_measured_on_their_tasks(make_run):
    arms = ("network", "all", "odd", "without_odd")
    run = RunData.load(make_run(experiment="mask_training", arms=arms, seeds=(0,)))
    assert [row.of for row in compare_rows([run])] == ["all tasks"] * 2 + ["task odd"] * 2


def test_a_run_is_not_held_against_itself(tasks):
    with pytest.raises(SetupError, match="is given twice"):
        compare_table([tasks, tasks])
    with pytest.raises(SetupError, match="is given twice"):
        render_compare([tasks, tasks])
