"""The results of experiments with masks: a table, a caption and a few sentences for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sleepengine.report.records import Result
from sleepengine.report.rows import accuracy_of, arms, level_rows, levels
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval
from sleepengine.report.words import MISSING, arm_name, digits_for, interval_text, plain, share

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """How one kind of experiment is told.

    over: what it is, above the title. caption: how to read the table. by_level: the accuracy may
    be drawn against the weights left.
    """

    over: str
    caption: str
    cells: Callable[[RunData], tuple[Cells, ...]]
    sentences: Callable[[RunData], tuple[str, ...]]
    by_level: bool = False


def story_of(run: RunData) -> Story | None:
    """The way to tell this run; None for trainings and lotteries."""
    return STORIES.get(run.meta.experiment)


def _of(run: RunData, arm: str, level: int = 0) -> list[Result]:
    return [r for r in run.results if (r.arm, r.level) == (arm, level)]


def _text(run: RunData, values: Sequence[float | None]) -> str:
    """Mean ± interval in percent of those that are known."""
    known = [value for value in values if value is not None]
    return interval_text(mean_interval(known), digits_for(run)) if known else MISSING


def _left(results: Sequence[Result]) -> str:
    return share(mean_interval([r.awake for r in results]).mean)


# --- mask_training -----------------------------------------------------------------------------


def _tasks(run: RunData) -> tuple[str, ...]:
    return tuple(dict.fromkeys(task for r in run.results for task in r.tasks or {}))


def _on(results: Sequence[Result], task: str) -> list[float | None]:
    return [(r.tasks or {}).get(task) for r in results]


def mask_cells(run: RunData) -> tuple[Cells, ...]:
    """Header, then a row per mask: weights left, accuracy on every task, share with the others."""
    tasks = _tasks(run)
    header = ("mask", "weights left", *(f"on {plain(task)}" for task in tasks), "shared")
    rows = []
    for arm in arms(run):
        found = _of(run, arm)
        accuracies = (_text(run, _on(found, task)) for task in tasks)
        shared = _text(run, [r.shared for r in found])
        rows.append((_mask_name(arm), _left(found), *accuracies, shared))
    return (header, *rows)


def _mask_name(arm: str) -> str:
    return {"network": "no mask", "all": "of all tasks"}.get(arm, arm_name(arm))


def _mask_sentences(run: RunData) -> tuple[str, ...]:
    tasks = [task for task in _tasks(run) if _of(run, task)]
    said = []
    for task in tasks:
        found = _of(run, task)
        own = _text(run, _on(found, task))
        said.append(f"{own}% on {plain(task)} with {_left(found)} of the weights")
    if not said:
        return ("No mask has been learned yet.",)
    first = f"The masks reach {', '.join(said)}."
    shared = _text(run, [r.shared for r in _of(run, tasks[0])])
    used = f"Of all weights that the tasks use, {plain(tasks[0])} shares {shared}% with another."
    return (first, used)


# --- supermask ---------------------------------------------------------------------------------


def supermask_cells(run: RunData) -> tuple[Cells, ...]:
    """Header, then a row per share: accuracy of each arm, and of the first minus the others."""
    names = arms(run) or ("supermask",)
    gaps = (f"{arm_name(names[0])} − {arm_name(arm)}" for arm in names[1:])
    rows = []
    for row in level_rows(run):
        values = (interval_text(row.cells.get(arm), digits_for(run)) for arm in names)
        found = (
            interval_text(row.differences.get(arm), digits_for(run), signed=True)
            for arm in names[1:]
        )
        rows.append((share(row.awake), *values, *found))
    return (("weights left", *map(arm_name, names), *gaps), *rows)


def _supermask_sentences(run: RunData) -> tuple[str, ...]:
    names = arms(run)
    rows = [row for row in level_rows(run) if names[0] in row.cells]
    if not rows:
        return ("No network has a test accuracy.",)
    best = max(rows, key=lambda row: row.cells[names[0]].mean)
    reached = interval_text(best.cells[names[0]], digits_for(run))
    rivals = ", ".join(
        f"{arm_name(arm)} {interval_text(best.cells[arm], digits_for(run))}%"
        for arm in names[1:]
        if arm in best.cells
    )
    said = f"Not one weight was trained: the best mask keeps {share(best.awake)} of them and "
    return (f"{said}reaches {reached}%" + (f" ({rivals})." if rivals else "."),)


# --- task_masks --------------------------------------------------------------------------------


def task_cells(run: RunData) -> tuple[Cells, ...]:
    """Header, then a row per task: accuracy of each arm then and now, runs that are the same."""
    names = arms(run)
    heads = [f"{arm_name(arm)}, {when}" for arm in names for when in ("then", "now", "same")]
    rows = []
    for level in levels(run):
        cells: list[str] = []
        for arm in names:
            found = _of(run, arm, level)
            cells += [
                _text(run, [r.then_accuracy for r in found]),
                _text(run, [accuracy_of(r) for r in found]),
                f"{sum(r.unchanged is True for r in found)} of {len(found)}",
            ]
        left = _left(_of(run, names[0], level)) if _of(run, names[0], level) else MISSING
        rows.append((str(level + 1), left, *cells))
    return (("task", "weights left", *heads), *rows)


def _task_sentences(run: RunData) -> tuple[str, ...]:
    said = []
    for arm in arms(run):
        found = [r for r in run.results if r.arm == arm]
        same = sum(r.unchanged is True for r in found)
        now = _text(run, [accuracy for r in found if (accuracy := accuracy_of(r)) is not None])
        said.append(
            f"{arm_name(arm)}: {same} of {len(found)} tasks give the outputs they gave when they "
            f"had just been learned, to the bit; mean accuracy now {now.split(' ±')[0]}%."
        )
    return tuple(said)


STORIES: Mapping[str, Story] = {
    "mask_training": Story(
        "Masks on a trained network",
        "Test accuracy in percent with each mask, mean ± 95% interval over the seeds; shared: of "
        "all weights that the tasks' masks keep, those that this and another keep.",
        mask_cells,
        _mask_sentences,
    ),
    "supermask": Story(
        "Masks on a network that is not trained",
        "Test accuracy in percent, mean ± 95% interval over the seeds. Differences in points, seed "
        "by seed.",
        supermask_cells,
        _supermask_sentences,
        by_level=True,
    ),
    "task_masks": Story(
        "Tasks one after another",
        "Test accuracy in percent on each task, when it had just been learned and after all, mean "
        "± 95% interval over the seeds; same: runs whose outputs are the same to the bit.",
        task_cells,
        _task_sentences,
    ),
}
