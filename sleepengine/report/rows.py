"""The results as plain rows: one per level of a lottery, one per network, one per run compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sleepengine.errors import SetupError
from sleepengine.pipeline.experiments.jobs import DENSE, TICKET
from sleepengine.report.records import Result
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import Interval, mean_interval, paired_difference

Reading = Callable[[Result], float | None]


def accuracy_of(result: Result) -> float | None:
    """Share of the test examples that the network gets right, 0 to 1."""
    return result.test_accuracy


def best_step(result: Result) -> float | None:
    """Number of training steps at which the validation was best."""
    return None if result.best_valid_step is None else float(result.best_valid_step)


@dataclass(frozen=True)
class LevelRow:
    """One level of a lottery.

    `awake` is the share of awake weights of the first compared arm that reached the level, and
    `shares` that of each such arm, means over the seeds. `cells` holds one interval per arm that
    reached the level; `differences` holds, for each arm but the first, first minus arm, paired over
    the seeds. The reference arm has its one value at every level.
    """

    level: int
    awake: float
    shares: Mapping[str, float]
    cells: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class RunRow:
    """One arm of one run at its sparsest level, as the comparison of runs shows it.

    `of` says what the accuracy is measured on, where that is not the whole test data.
    """

    run: str
    experiment: str
    status: str
    data: str
    model: str
    arm: str
    awake: float
    accuracy: Interval | None
    seeds: int
    seconds: float
    of: str = ""


def arms(run: RunData) -> tuple[str, ...]:
    """Arms that have a result, in the order of the run.

    Arms that `run.json` does not name come last, in order of appearance.
    """
    found = dict.fromkeys(result.arm for result in run.results)
    if reference(run) is not None:
        found[DENSE] = None
    named = [arm for arm in run.meta.arms if arm in found]
    return tuple(dict.fromkeys([*named, *found]))


def reference(run: RunData) -> str | None:
    """The arm that is the same network at every level, so that it has level 0 alone; None without.

    That is the dense arm of a lottery. Where its line is missing it is the ticket's level 0.
    """
    dense = {result.level for result in run.results if result.arm == DENSE}
    others = {result.level for result in run.results if result.arm != DENSE}
    named = DENSE in run.meta.arms and any(_dense_ticket(result) for result in run.results)
    return DENSE if others and (dense == {0} or (named and not dense)) else None


def _dense_ticket(result: Result) -> bool:
    return (result.arm, result.level) == (TICKET, 0)


def compared(run: RunData) -> tuple[str, ...]:
    """The arms without the reference; the first is what all others are held against."""
    fixed = reference(run)
    return tuple(arm for arm in arms(run) if arm != fixed)


def levels(run: RunData) -> tuple[int, ...]:
    """Levels that have a result, ascending."""
    return tuple(sorted({result.level for result in run.results}))


def results_of(run: RunData, arm: str, level: int) -> tuple[Result, ...]:
    """The networks of one arm at one level, those of the reference arm at any level."""
    if arm != reference(run):
        return tuple(r for r in run.results if (r.arm, r.level) == (arm, level))
    own = {r.seed: r for r in run.results if (r.arm, r.level) == (arm, 0)}
    return tuple({**{r.seed: r for r in run.results if _dense_ticket(r)}, **own}.values())


def by_seed(run: RunData, arm: str, level: int, reading: Reading) -> dict[int, float]:
    """Seed -> value, over the networks of one arm and level that have the value."""
    found = {r.seed: reading(r) for r in results_of(run, arm, level)}
    return {seed: value for seed, value in found.items() if value is not None}


def awake_share(run: RunData, arm: str, level: int) -> float:
    """Mean share of awake weights over the seeds of one arm at one level; NaN without any."""
    found = results_of(run, arm, level)
    return mean_interval([result.awake for result in found]).mean if found else math.nan


def sleeps(run: RunData) -> bool:
    """Whether any weight ever slept, as far as the run folder tells."""
    return (
        any(result.awake < 1.0 for result in run.results)
        or any(point.awake < 1.0 for point in run.curves)
        or any(line.fraction > 0.0 for line in run.journal)
    )


def level_rows(run: RunData, reading: Reading = accuracy_of) -> tuple[LevelRow, ...]:
    """One row per level, from all weights to the fewest."""
    return tuple(_level_row(run, level, reading) for level in levels(run))


def _level_row(run: RunData, level: int, reading: Reading) -> LevelRow:
    first, *others = compared(run)
    fixed = reference(run)
    names = (first, *others) if fixed is None else (first, *others, fixed)
    values = {arm: by_seed(run, arm, level, reading) for arm in names}
    differences = {arm: paired_difference(values[first], values[arm]) for arm in names[1:]}
    reached = {arm: awake_share(run, arm, level) for arm in names if results_of(run, arm, level)}
    return LevelRow(
        level=level,
        awake=next(iter(reached.values())),
        shares=reached,
        cells={arm: mean_interval(list(found.values())) for arm, found in values.items() if found},
        differences={arm: gap for arm, gap in differences.items() if gap is not None},
    )


def compare_rows(runs: Sequence[RunData]) -> tuple[RunRow, ...]:
    """One row per run and arm, at the sparsest level of the arm; runs without results have none."""
    named = zip(runs, labels(runs), strict=True)
    return tuple(_run_row(run, label, arm) for run, label in named for arm in arms(run))


def labels(runs: Sequence[RunData]) -> tuple[str, ...]:
    """A name for each run; those with the same name are told apart by their folders."""
    names = [run.meta.name for run in runs]
    folders = [run.path.absolute().name for run in runs]
    shown = [
        name if names.count(name) == 1 else f"{name} ({folder})"
        for name, folder in zip(names, folders, strict=True)
    ]
    return tuple(
        label if shown.count(label) == 1 else f"{run.meta.name} ({run.path})"
        for label, run in zip(shown, runs, strict=True)
    )


def refuse_twins(runs: Sequence[RunData]) -> None:
    """A run is not held against itself.

    Raises:
        SetupError: a folder is given twice.
    """
    seen = set()
    for run in runs:
        if run.path.resolve() in seen:
            raise SetupError(f"{run.path} is given twice; a comparison needs different runs")
        seen.add(run.path.resolve())


def unlike(runs: Sequence[RunData]) -> str:
    """Why accuracies of these runs are not of the same kind; empty when they are."""
    kinds = dict.fromkeys(run.meta.experiment for run in runs)
    data = dict.fromkeys(run.meta.data.name for run in runs)
    told = [name for name in kinds if name in _OF_THEIR_OWN] if len(kinds) > 1 else []
    found = []
    if told:
        found.append(f"experiments of several kinds ({', '.join(kinds)})")
    if len(data) > 1:
        found.append(f"several data sets ({', '.join(data)})")
    return f"These are {' and '.join(found)}: hold accuracies against each other with care." * bool(
        found
    )


_OF_THEIR_OWN = ("mask_training", "supermask", "task_masks")


def _run_row(run: RunData, label: str, arm: str) -> RunRow:
    level = max((result.level for result in run.results if result.arm == arm), default=0)
    values, of = _measured(run, arm, level)
    return RunRow(
        run=label,
        experiment=run.meta.experiment,
        status=run.meta.status,
        data=run.meta.data.name,
        model=run.meta.model.name,
        arm=arm,
        awake=awake_share(run, arm, level),
        accuracy=mean_interval(values) if values else None,
        seeds=len(results_of(run, arm, level)),
        seconds=run.meta.seconds,
        of=of,
    )


def _measured(run: RunData, arm: str, level: int) -> tuple[list[float], str]:
    """The accuracy of every seed, and what it is of."""
    if run.meta.experiment == "task_masks":
        tasks = [by_seed(run, arm, k, accuracy_of) for k in levels(run)]
        seeds = set.intersection(*(set(task) for task in tasks)) if tasks else set()
        means = [sum(task[seed] for task in tasks) / len(tasks) for seed in sorted(seeds)]
        return means, f"mean of {len(tasks)} tasks"
    values = [*by_seed(run, arm, level, accuracy_of).values()]
    if run.meta.experiment == "mask_training":
        task = arm.removeprefix("without_")
        return values, "all tasks" if arm in ("network", "all") else f"task {task}"
    if run.meta.experiment == "supermask":
        return values, f"sparsest of {len(levels(run))}"
    return values, ""
