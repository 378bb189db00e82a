"""Results as cells of text: one table per run, one that compares runs."""

from __future__ import annotations

from collections.abc import Sequence

from sleepengine.report.mask_results import story_of
from sleepengine.report.records import Result
from sleepengine.report.rows import (
    LevelRow,
    RunRow,
    accuracy_of,
    awake_share,
    by_seed,
    compare_rows,
    compared,
    labels,
    level_rows,
    reference,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval
from sleepengine.report.words import (
    MISSING,
    arm_name,
    arm_short,
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

    The difference of each arm to the first follows, paired over the seeds. The reference arm is the
    same at every level: it has a difference, and its one value stands in `reference_text`.
    """
    names = compared(run) or ("ticket",)
    rivals = _rivals(run)
    header = ("weights left", *(arm_name(arm) for arm in names))
    gaps = tuple(f"{arm_name(names[0])} − {arm_name(arm)}" for arm in rivals)
    rows = ((*_values(run, row, names), *_gaps(run, row, rivals)) for row in level_rows(run))
    return ((*header, *gaps), *rows)


def short_cells(run: RunData) -> tuple[tuple[Cells, ...], tuple[Cells, ...]]:
    """The same in two narrow tables: accuracies; differences (none when there is but one arm)."""
    names, rivals = compared(run) or ("ticket",), _rivals(run)
    left = "weights left"
    values = ((left, *map(arm_short, names)), *(_values(run, r, names) for r in level_rows(run)))
    if not rivals:
        return values, ()
    gaps = ((share(row.awake), *_gaps(run, row, rivals)) for row in level_rows(run))
    heads = tuple(f"{arm_short(names[0])} − {arm_short(arm)}" for arm in rivals)
    return values, ((left, *heads), *gaps)


def reference_text(run: RunData) -> str:
    """The value of the arm that is the same at every level, in a few words; empty without one."""
    arm = reference(run)
    found = [] if arm is None else list(by_seed(run, arm, 0, accuracy_of).values())
    if arm is None or not found:
        return ""
    return f"{arm_name(arm)}, all weights: {interval_text(mean_interval(found), digits_for(run))}"


def _rivals(run: RunData) -> tuple[str, ...]:
    """The arms that the first is held against."""
    fixed = reference(run)
    return (*compared(run)[1:], *(() if fixed is None else (fixed,)))


def _values(run: RunData, row: LevelRow, names: Cells) -> Cells:
    return (share(row.awake), *(_value(run, row, arm) for arm in names))


def _value(run: RunData, row: LevelRow, arm: str) -> str:
    """Accuracy of an arm; with its share of weights where that is not the one of the row."""
    text = interval_text(row.cells.get(arm), digits_for(run))
    own = share(row.shares.get(arm, row.awake))
    return text if own == share(row.awake) else f"{text} at {own}"


def _gaps(run: RunData, row: LevelRow, rivals: Cells) -> Cells:
    digits = digits_for(run)
    return tuple(interval_text(row.differences.get(arm), digits, signed=True) for arm in rivals)


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
        share(awake_share(run, run.results[0].arm, 0)),
        interval_text(mean_interval(accuracy) if accuracy else None, digits),
        interval_text(mean_interval(loss) if loss else None, 4, 1.0),
        interval_text(mean_interval(best) if best else None, digits),
        "",
        duration(sum(result.seconds for result in run.results)),
    )
    return (cells,)


def compare_cells(runs: Sequence[RunData]) -> tuple[Cells, ...]:
    """Header, then one row per run and arm at its sparsest level.

    A column "measured" says what the accuracy is of, where it is not always the whole test data.
    """
    rows = compare_rows(runs)
    told = any(row.of for row in rows)
    of = ("measured",) if told else ()
    header = ("run", "status", "data", "model", "arm", *of, "weights left", "test accuracy")
    digits = _digits(runs)
    cells = (
        (
            plain(row.run),
            row.status,
            plain(row.data),
            plain(row.model),
            arm_name(row.arm),
            *((plain(row.of) or "test data",) if told else ()),
            share(row.awake),
            interval_text(row.accuracy, digits),
            str(row.seeds),
        )
        for row in rows
    )
    return ((*header, "seeds"), *cells)


def short_compare_cells(
    runs: Sequence[RunData],
) -> tuple[tuple[Cells, ...], tuple[Cells, ...]]:
    """The same in two narrow tables: results of each arm; facts of each run."""
    digits = _digits(runs)
    rows = compare_rows(runs)
    told = any(row.of for row in rows)

    def cells(row: RunRow) -> Cells:
        value = interval_text(row.accuracy, digits)
        of = (plain(row.of) or "test data",) if told else ()
        return (plain(row.run), arm_short(row.arm), *of, share(row.awake), value)

    results = tuple(cells(row) for row in rows)
    facts = tuple(
        (
            plain(label),
            run.meta.status,
            plain(run.meta.data.name),
            plain(run.meta.model.name),
            str(len({result.seed for result in run.results})),
        )
        for run, label in zip(runs, labels(runs), strict=True)
    )
    of = ("measured",) if told else ()
    return (
        (("run", "arm", *of, "weights left", "test accuracy"), *results),
        (("run", "status", "data", "model", "seeds"), *facts),
    )


def _digits(runs: Sequence[RunData]) -> int:
    return max((digits_for(run) for run in runs), default=1)


def result_cells(run: RunData) -> tuple[Cells, ...]:
    """The table that fits the experiment of the run."""
    story = story_of(run)
    if story is not None:
        return story.cells(run)
    return lottery_cells(run) if run.meta.experiment == "lottery" else train_cells(run)
