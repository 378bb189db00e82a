"""Curves over time, averaged over the seeds: what the charts draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from sleepengine.report.records import CurvePoint
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval

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


def layer(run: RunData, arm: str, level: int, name: str) -> Series:
    """Awake share of one tensor over the steps of one arm and level."""
    return average(_pick(run, arm, level, lambda point: point.layers.get(name)))


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


def thin_out(items: Sequence[T], most: int) -> tuple[T, ...]:
    """At most `most` items, evenly spread, with the first and the last among them.

    >>> thin_out([0, 1, 2, 3, 4, 5, 6], 3)
    (0, 3, 6)
    """
    if len(items) <= most:
        return tuple(items)
    return tuple(items[round(i * (len(items) - 1) / (most - 1))] for i in range(most))


def final_layers(run: RunData, arm: str, level: int) -> dict[str, float]:
    """Mean over the seeds of the awake share of each tensor at the last evaluation of a level."""
    last = {p.seed: p.layers for p in run.curves if (p.arm, p.level) == (arm, level)}
    names = dict.fromkeys(name for layers in last.values() for name in layers)
    return {
        name: mean_interval([found[name] for found in last.values() if name in found]).mean
        for name in names
    }
