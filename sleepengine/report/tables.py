"""Results in the terminal: one table per run, one that compares runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sleepengine.report.records import Result
from sleepengine.report.rows import (
    LevelRow,
    accuracy_of,
    arms,
    awake_share,
    compare_rows,
    level_rows,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval
from sleepengine.report.words import (
    MISSING,
    arm_name,
    digits_for,
    duration,
    interval_text,
    number,
    plain,
    share,
)

Cells = tuple[str, ...]


def lottery_cells(run: RunData) -> tuple[Cells, ...]:
    """Header, then one row per level: remaining weights and, per arm, test accuracy in percent.

    With two arms or more, the difference of each to the first follows, paired over the seeds.
    """
    first, *others = arms(run) or ("ticket",)
    header = ("weights left", *(arm_name(arm) for arm in (first, *others)))
    gaps = tuple(f"{arm_name(first)} − {arm_name(arm)}" for arm in others)
    rows = (_level_cells(run, (first, *others), row) for row in level_rows(run))
    return ((*header, *gaps), *rows)


def _level_cells(run: RunData, names: Cells, row: LevelRow) -> Cells:
    digits = digits_for(run)
    values = (interval_text(row.cells.get(arm), digits) for arm in names)
    gaps = (interval_text(row.differences.get(arm), digits, signed=True) for arm in names[1:])
    return (share(row.awake), *values, *gaps)


def train_cells(run: RunData) -> tuple[Cells, ...]:
    """Header, one row per seed, and the mean over the seeds when there are several."""
    header = (
        "seed",
        "weights left",
        "test accuracy",
        "test loss",
        "best validation",
        "at step",
        "time",
    )
    rows = tuple(_seed_cells(run, result) for result in run.results)
    return (header, *rows, *(_mean_cells(run) if len(rows) > 1 else ()))


def _seed_cells(run: RunData, result: Result) -> Cells:
    digits = digits_for(run)
    step = MISSING if result.best_valid_step is None else str(result.best_valid_step)
    return (
        str(result.seed),
        share(result.awake),
        number(result.test_accuracy, digits, 100.0),
        number(result.test_loss, 4),
        number(result.best_valid_accuracy, digits, 100.0),
        step,
        duration(result.seconds),
    )


def _mean_cells(run: RunData) -> tuple[Cells, ...]:
    digits = digits_for(run)
    accuracy = [v for r in run.results if (v := accuracy_of(r)) is not None]
    loss = [r.test_loss for r in run.results if r.test_loss is not None]
    best = [r.best_valid_accuracy for r in run.results if r.best_valid_accuracy is not None]
    cells = (
        "mean",
        share(awake_share(run.results)),
        interval_text(mean_interval(accuracy) if accuracy else None, digits),
        interval_text(mean_interval(loss) if loss else None, 4, 1.0),
        interval_text(mean_interval(best) if best else None, digits),
        "",
        duration(sum(result.seconds for result in run.results)),
    )
    return (cells,)


def compare_cells(runs: Sequence[RunData]) -> tuple[Cells, ...]:
    """Header, then one row per run and arm at its sparsest level."""
    digits = max((digits_for(run) for run in runs), default=1)
    header = ("run", "status", "data", "model", "arm", "weights left", "test accuracy", "seeds")
    rows = (
        (
            plain(row.run),
            row.status,
            plain(row.data),
            plain(row.model),
            arm_name(row.arm),
            share(row.awake),
            interval_text(row.accuracy, digits),
            str(row.seeds),
        )
        for row in compare_rows(runs)
    )
    return (header, *rows)


def result_cells(run: RunData) -> tuple[Cells, ...]:
    """The table that fits the experiment of the run."""
    return lottery_cells(run) if run.meta.experiment == "lottery" else train_cells(run)


def show_table(run: RunData) -> Table:
    """The results of one run as a rich table, test accuracy in percent ± 95% interval."""
    title = f"{plain(run.meta.name)} ({run.meta.status})"
    return _table(title, result_cells(run), left=0)


def compare_table(runs: Sequence[RunData]) -> Table:
    """Several runs side by side as a rich table."""
    return _table(f"{len(runs)} runs at their sparsest level", compare_cells(runs), left=5)


def _table(title: str, cells: Sequence[Cells], left: int) -> Table:
    """`left` columns of words come first; the rest are numbers. Text objects: no markup is read."""
    table = Table(title=Text(title), title_justify="left")
    for i, name in enumerate(cells[0]):
        table.add_column(Text(name), justify="left" if i < left else "right")
    for row in cells[1:]:
        table.add_row(*(Text(cell) for cell in row))
    return table
