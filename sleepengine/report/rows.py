"""The results as plain rows: one per level of a lottery, one per network, one per run compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

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

    `awake` is the mean share of awake weights. `cells` holds one interval per arm that reached the
    level; `differences` holds, for each arm but the first, first minus arm, paired over the seeds.
    """

    level: int
    awake: float
    cells: Mapping[str, Interval]
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class RunRow:
    """One arm of one run at its sparsest level, as the comparison of runs shows it."""

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


def arms(run: RunData) -> tuple[str, ...]:
    """Arms that have a result, in the order of the run; the first is what others are held against.

    Arms that `run.json` does not name come last, in order of appearance.
    """
    found = dict.fromkeys(result.arm for result in run.results)
    named = [arm for arm in run.meta.arms if arm in found]
    return tuple(dict.fromkeys([*named, *found]))


def levels(run: RunData) -> tuple[int, ...]:
    """Levels that have a result, ascending."""
    return tuple(sorted({result.level for result in run.results}))


def by_seed(run: RunData, arm: str, level: int, reading: Reading) -> dict[int, float]:
    """Seed -> value, over the networks of one arm and level that have the value."""
    found = {r.seed: reading(r) for r in run.results if r.arm == arm and r.level == level}
    return {seed: value for seed, value in found.items() if value is not None}


def awake_share(results: Iterable[Result]) -> float:
    """Mean share of awake weights over `results`."""
    return mean_interval([result.awake for result in results]).mean


def level_rows(run: RunData, reading: Reading = accuracy_of) -> tuple[LevelRow, ...]:
    """One row per level, from all weights to the fewest."""
    return tuple(_level_row(run, level, reading) for level in levels(run))


def _level_row(run: RunData, level: int, reading: Reading) -> LevelRow:
    values = {arm: by_seed(run, arm, level, reading) for arm in arms(run)}
    first, *others = values
    differences = {arm: paired_difference(values[first], values[arm]) for arm in others}
    return LevelRow(
        level=level,
        awake=awake_share(result for result in run.results if result.level == level),
        cells={arm: mean_interval(list(found.values())) for arm, found in values.items() if found},
        differences={arm: gap for arm, gap in differences.items() if gap is not None},
    )


def compare_rows(runs: Sequence[RunData]) -> tuple[RunRow, ...]:
    """One row per run and arm, at the sparsest level of the arm; runs without results have none."""
    return tuple(_run_row(run, arm) for run in runs for arm in arms(run))


def _run_row(run: RunData, arm: str) -> RunRow:
    level = max(result.level for result in run.results if result.arm == arm)
    results = [result for result in run.results if result.arm == arm and result.level == level]
    values = list(by_seed(run, arm, level, accuracy_of).values())
    return RunRow(
        run=run.meta.name,
        experiment=run.meta.experiment,
        status=run.meta.status,
        data=run.meta.data.name,
        model=run.meta.model.name,
        arm=arm,
        awake=awake_share(results),
        accuracy=mean_interval(values) if values else None,
        seeds=len(results),
        seconds=run.meta.seconds,
    )
