"""Curves over time, averaged over the seeds: what the charts draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sleepengine.report.records import CurvePoint
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval

MOST_POINTS = 400
Field = Literal["train_loss", "valid_loss", "valid_accuracy", "awake"]
T = TypeVar("T")

_READ: dict[Field, Callable[[CurvePoint], float | None]] = {
    "train_loss": lambda point: point.train_loss,
    "valid_loss": lambda point: point.valid_loss,
    "valid_accuracy": lambda point: point.valid_accuracy,
    "awake": lambda point: point.awake,
}


@dataclass(frozen=True)
class Series:
    """Mean over the seeds at each step, and the line (steps, values) of every seed."""

    x: tuple[int, ...]
    mean: tuple[float, ...]
    seeds: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...]


def learning(run: RunData, arm: str, level: int, what: Field) -> Series:
    """One quantity over the steps of one arm and level.

    The mean is taken where every seed that has the quantity was evaluated, so that it never jumps
    because a seed stopped early; with one seed it is that seed.
    """
    read = _READ[what]
    return average(_pick(run, arm, level, read))


def awake_series(run: RunData, arm: str, level: int, name: str | None = None) -> Series:
    """Awake share, of one tensor if named, over the steps of one arm and level.

    Evaluations and actions of the rules give the points, so that a change stands at its own step.
    A seed in which rules act begins with all awake; else it begins as it was first seen.
    """
    found: dict[tuple[int, int], float] = {}
    begun: dict[tuple[int, int], float] = {}
    for point in run.curves:
        share = point.awake if name is None else point.layers.get(name)
        if (point.arm, point.level) == (arm, level) and share is not None:
            begun.setdefault((point.seed, 0), share)
            found[point.seed, point.step] = share
    for line in run.journal:  # at the step of an evaluation rules may act on what it showed
        if (line.arm, line.level) != (arm, level):
            continue
        begun[line.seed, 0] = 1.0
        if name is None:
            found[line.seed, line.step] = 1.0 - line.fraction
        elif name in line.tensors:
            tensor = line.tensors[name]
            found[line.seed, line.step] = 1.0 - tensor.asleep / max(1, tensor.total)
    return average((seed, step, share) for (seed, step), share in (begun | found).items())


def _pick(
    run: RunData, arm: str, level: int, read: Callable[[CurvePoint], float | None]
) -> Iterable[tuple[int, int, float]]:
    for point in run.curves:
        value = read(point) if (point.arm, point.level) == (arm, level) else None
        if value is not None:
            yield point.seed, point.step, value


def average(points: Iterable[tuple[int, int, float]]) -> Series:
    """From (seed, step, value) to the mean over seeds at the steps that all seeds share.

    >>> average([(0, 10, 1.0), (0, 20, 2.0), (1, 10, 3.0)])
    Series(x=(10,), mean=(2.0,), seeds=(((10, 20), (1.0, 2.0)), ((10,), (3.0,))))
    """
    found: dict[int, dict[int, float]] = {}
    for seed, step, value in points:
        found.setdefault(seed, {})[step] = value
    if not found:
        return Series((), (), ())
    shared = sorted(set.intersection(*(set(line) for line in found.values())))
    return Series(
        tuple(shared),
        tuple(mean_interval([line[step] for line in found.values()]).mean for step in shared),
        tuple(
            (tuple(sorted(line)), tuple(line[s] for s in sorted(line))) for line in found.values()
        ),
    )


def over_seeds(run: RunData) -> str:
    """What the lines of a chart are, for its caption."""
    return "Means over the seeds." if len(run.meta.seeds) > 1 else "One seed."


def thin_out(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most `most` items, evenly spread, with the first and the last among them.

    >>> thin_out([0, 1, 2, 3, 4, 5, 6], 3)
    (0, 3, 6)
    """
    if len(items) <= most:
        return tuple(items)
    return tuple(items[round(i * (len(items) - 1) / (most - 1))] for i in range(most))


def thinned(series: Series, most: int = MOST_POINTS) -> Series:
    """The series with at most `most` points in each line, evenly spread: a drawing shows no more.

    >>> thinned(Series((0, 1, 2, 3, 4), (5.0, 6.0, 7.0, 8.0, 9.0), ()), 3)
    Series(x=(0, 2, 4), mean=(5.0, 7.0, 9.0), seeds=())
    """
    lines = tuple((thin_out(x, most), thin_out(y, most)) for x, y in series.seeds)
    return Series(thin_out(series.x, most), thin_out(series.mean, most), lines)


def final_layers(run: RunData, arm: str, level: int) -> dict[str, float]:
    """Mean over the seeds of the awake share of each tensor at the last evaluation of a level."""
    last = {p.seed: p.layers for p in run.curves if (p.arm, p.level) == (arm, level)}
    names = dict.fromkeys(name for layers in last.values() for name in layers)
    return {
        name: mean_interval([found[name] for found in last.values() if name in found]).mean
        for name in names
    }
