import io

import pytest
from rich.console import Console

from sleepengine.report.rows import arms, best_step, compare_rows, labels, level_rows
from sleepengine.report.run_data import RunData
from sleepengine.report.tables import compare_cells, lottery_cells, train_cells
from sleepengine.report.terminal import compare_table, show_table


def as_text(table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def with_accuracies(run: RunData, table: dict) -> RunData:
    """The same run with test accuracies given as (arm, level) -> one per seed."""
    from dataclasses import replace

    seeds = {seed: i for i, seed in enumerate(run.meta.seeds)}
    results = tuple(
        replace(r, test_accuracy=table[r.arm, r.level][seeds[r.seed]]) for r in run.results
    )
    return replace(run, results=results)


@pytest.fixture
def small(make_run):
    # ticket at level 1: 0.96, 0.97, 0.98: mean 0.97, s = 0.01, ± 4.303 · 0.01 / √3 = 0.0248
    # reinit at level 1: 0.95, 0.955, 0.96; differences 0.01, 0.015, 0.02: 0.015 ± 0.0124
    run = RunData.load(make_run(levels=2, test_examples=500))
    return with_accuracies(
        run,
        {
            ("ticket", 0): [0.98, 0.98, 0.98],
            ("reinit", 0): [0.98, 0.98, 0.98],
            ("ticket", 1): [0.96, 0.97, 0.98],
            ("reinit", 1): [0.95, 0.955, 0.96],
        },
    )


def test_lottery_table(small):
    assert lottery_cells(small) == (
        (
            "weights left",
            "ticket",
            "random re-initialisation",
            "ticket − random re-initialisation",
        ),
        ("100%", "98.0 ± 0.0", "98.0 ± 0.0", "0.0 ± 0.0"),
        ("50.0%", "97.0 ± 2.5", "95.5 ± 1.2", "+1.5 ± 1.2"),
    )


def test_lottery_rows_hold_the_numbers(small):
    row = level_rows(small)[1]
    assert (row.level, row.awake) == (1, 0.5)
    assert row.cells["ticket"].half_width == pytest.approx(0.024841, abs=1e-6)
    assert row.differences["reinit"].mean == pytest.approx(0.015)
    steps = level_rows(small, best_step)
    assert [row.cells["ticket"].mean for row in steps] == [600.0, 580.0]


def test_a_large_test_set_earns_a_second_digit(make_run):
    cells = lottery_cells(RunData.load(make_run(levels=1, seeds=(0,), test_examples=10_000)))
    assert cells[1][0] == "100%"
    assert len(cells[1][1].split(".")[1]) == 2


def test_an_interrupted_lottery_shows_what_is_missing(make_run):
    run = RunData.load(make_run(status="interrupted", seeds=(0,), levels=3, stop_after=3))
    assert [row[2] == "–" for row in lottery_cells(run)[1:]] == [False, True]


def test_train_table(make_train):
    cells = train_cells(RunData.load(make_train(seeds=(5, 7), test_examples=500)))
    assert cells[0][:3] == ("seed", "weights left", "test accuracy")
    assert [row[0] for row in cells[1:]] == ["5", "7", "mean"]
    assert cells[1][1] == "10.0%"
    assert cells[3][6] == "25.0 s"


def test_one_seed_has_no_mean_row(make_train):
    assert len(train_cells(RunData.load(make_train(seeds=(0,))))) == 2


def test_no_results_gives_a_header_alone(make_run):
    run = RunData.load(make_run(status="running", stop_after=0))
    assert len(lottery_cells(run)) == 1
    assert arms(run) == ()
    assert "running" in as_text(show_table(run))


def test_arms_that_the_header_does_not_name_come_last(make_run):
    run = RunData.load(make_run(extra={"arms": ["reinit"]}, levels=1))
    assert arms(run) == ("reinit", "ticket")


def test_compare_shows_each_arm_at_its_sparsest_level(make_run, make_train):
    runs = [RunData.load(make_run(levels=3)), RunData.load(make_train())]
    rows = compare_rows(runs)
    assert [(r.run, r.arm, round(r.awake, 9), r.seeds) for r in rows] == [
        ("digits lottery", "ticket", 0.25, 3),
        ("digits lottery", "reinit", 0.25, 3),
        ("gradual", "train", 0.1, 3),
    ]
    assert compare_cells(runs)[3][4:6] == ("network", "10.0%")
    assert "3 runs" not in as_text(compare_table(runs))
    assert as_text(compare_table(runs)).count("digits lottery") == 2


def test_names_are_text_not_markup(make_run):
    run = RunData.load(make_run(name="[red]x[/red]\x1b[31m", arms=("[bold]a", "reinit"), levels=1))
    shown = as_text(show_table(run))
    assert "[red]x[/red]?[31m" in shown
    assert "[bold]a" in shown
    assert "\x1b[31m" not in shown


def test_runs_of_the_same_name_are_told_apart_by_their_folders(make_run, make_train, tmp_path):
    from dataclasses import replace

    one, two, other = (RunData.load(path) for path in (make_run(), make_run(), make_train()))
    assert labels([one, two, other]) == (
        "digits lottery (run0)",
        "digits lottery (run1)",
        "gradual",
    )
    twin = replace(two, path=tmp_path / "elsewhere" / "run0")
    assert labels([one, twin]) == (
        f"digits lottery ({one.path})",
        f"digits lottery ({twin.path})",
    )
    assert {row.run for row in compare_rows([one, two])} == set(labels([one, two]))
