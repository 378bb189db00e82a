"""The charts of a run: accuracy against sparsity, learning curves, layers over time, a schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepengine.report.plots import COLOURS, MARKERS, STYLES, Pen, Plot, draw
from sleepengine.report.rows import Reading, accuracy_of, arms, awake_share, best_step, level_rows
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Series, learning, thin_out
from sleepengine.report.statistics import Interval
from sleepengine.report.words import arm_name, share, short


@dataclass(frozen=True)
class Line:
    """One line of a chart against the share of awake weights, with an interval at each point."""

    label: str
    awake: tuple[float, ...]
    values: tuple[Interval, ...]


def lines_of(run: RunData, reading: Reading, prefix: str = "") -> tuple[Line, ...]:
    """One line per arm of a run."""
    rows = level_rows(run, reading)
    return tuple(
        Line(
            prefix + arm_name(arm),
            tuple(row.awake for row in rows if arm in row.cells),
            tuple(row.cells[arm] for row in rows if arm in row.cells),
        )
        for arm in arms(run)
        if any(arm in row.cells for row in rows)
    )


def accuracy_chart(run: RunData) -> Plot:
    """Test accuracy against the share of weights left, one line per arm with its 95% band."""
    lines = lines_of(run, accuracy_of)
    return against_weights(lines, "accuracy", "Test accuracy", _spread(lines), percent=True)


def speed_chart(run: RunData) -> Plot:
    """Steps to the best validation against the share of weights left."""
    lines = lines_of(run, best_step)
    title = "Steps to the best validation"
    note = f"Fewer steps: the network learns faster. {_spread(lines)}"
    return against_weights(lines, "speed", title, note, percent=False)


def compare_chart(runs: Sequence[RunData]) -> Plot:
    """Test accuracy against weights left, one line per run and arm."""
    lines = [
        line for run in runs for line in lines_of(run, accuracy_of, f"{short(run.meta.name)}: ")
    ]
    return against_weights(lines, "compare", "Test accuracy", _spread(lines), percent=True)


def _spread(lines: Sequence[Line]) -> str:
    if any(value.half_width is not None for line in lines for value in line.values):
        return "Lines are means over the seeds, bands their 95% intervals."
    return "One seed, so there are no intervals."


def against_weights(
    lines: Sequence[Line], name: str, title: str, caption: str, *, percent: bool
) -> Plot:
    """Lines against the share of awake weights on a logarithmic axis, all weights on the left."""

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = [_band(axes, line, i) for i, line in enumerate(lines)]
        axes.set_xscale("log")
        found = sorted({awake for line in lines for awake in line.awake if awake > 0.0})
        places = ticks(found)
        pen.fixed_ticks(axes.xaxis, places, [share(place) for place in places])
        if found:  # from all weights to the fewest, with a margin as wide as a marker
            margin = max(1.05, (found[-1] / found[0]) ** 0.05)
            axes.set_xlim(found[-1] * margin, found[0] / margin)
        if percent:
            pen.percent_axis(axes.yaxis)
        else:
            pen.whole_steps(axes.yaxis)
        axes.set_xlabel("weights left (logarithmic)")
        axes.set_title(title)
        pen.legend(handles, [line.label for line in lines])

    words = "; ".join(_line_words(line, percent) for line in lines)
    alt = f"{title} against the share of weights left. {words or 'No values yet'}."
    return draw(name, caption, alt, paint)


def _band(axes: Any, line: Line, i: int) -> Any:
    colour = COLOURS[i % len(COLOURS)]
    axes.fill_between(
        line.awake,
        [value.low for value in line.values],
        [value.high for value in line.values],
        color=colour,
        alpha=0.16,
        linewidth=0,
    )
    means = [value.mean for value in line.values]
    marker = MARKERS[i % len(MARKERS)]
    style = STYLES[i // len(COLOURS) % len(STYLES)]
    (handle,) = axes.plot(
        line.awake, means, color=colour, linestyle=style, marker=marker, clip_on=False
    )
    return handle


def _line_words(line: Line, percent: bool) -> str:
    def word(value: Interval) -> str:
        if not math.isfinite(value.mean):
            return "unknown"
        return f"{100 * value.mean:.1f}%" if percent else f"{value.mean:.0f}"

    first, last = line.values[0], line.values[-1]
    return (
        f"{line.label}: {word(first)} at {share(line.awake[0])}, "
        f"{word(last)} at {share(line.awake[-1])}"
    )


def ticks(places: Sequence[float], most: int = 9) -> list[float]:
    """Of ascending `places`, those whose labels have room on a logarithmic axis, and both ends.

    >>> ticks([0.1, 0.11, 0.5, 0.95, 1.0])
    [1.0, 0.5, 0.1]
    """
    if not places:
        return []
    room = math.log(places[-1] / places[0]) / most
    kept = [places[-1]]
    for place in reversed(places[:-1]):
        if math.log(kept[-1] / place) >= room:
            kept.append(place)
    if kept[-1] != places[0]:
        kept[max(1, len(kept) - 1) :] = [places[0]]
    return kept


def learning_charts(run: RunData) -> tuple[Plot, ...]:
    """Validation accuracy over the steps, a chart per arm; the fewer weights, the stronger."""
    names = arms(run) or tuple(dict.fromkeys(point.arm for point in run.curves))
    shown = thin_out(tuple(sorted({point.level for point in run.curves})), 5)
    values = [p.valid_accuracy for p in run.curves if p.level in shown and p.valid_accuracy]
    finite = [value for value in values if math.isfinite(value)]
    limits = (min(finite) - 0.01, max(finite) + 0.005) if finite else (0.0, 1.0)
    return tuple(_learning_chart(run, arm, i, shown, limits) for i, arm in enumerate(names))


def _learning_chart(
    run: RunData, arm: str, i: int, shown: Sequence[int], limits: tuple[float, float]
) -> Plot:
    lines = {level: learning(run, arm, level, "valid_accuracy") for level in shown}
    lines = {level: line for level, line in lines.items() if line.x}
    labels = [f"{share(_awake_at(run, level))} left" for level in lines]

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for rank, line in enumerate(lines.values()):
            alpha = min(1.0, 0.2 + 0.8 * (rank + 1) / len(lines))
            colour = COLOURS[i % len(COLOURS)]
            handles += axes.plot(line.x, line.mean, color=colour, alpha=alpha)
        axes.set_ylim(*limits)
        axes.set_title(f"Validation accuracy, {arm_name(arm)}")
        axes.set_xlabel("training step")
        pen.percent_axis(axes.yaxis)
        pen.whole_steps(axes.xaxis)
        pen.legend(handles, labels)

    ends = "; ".join(
        f"{label}: {100 * line.mean[-1]:.1f}% at step {line.x[-1]}"
        for label, line in zip(labels, lines.values(), strict=True)
    )
    alt = f"Validation accuracy of {arm_name(arm)} over training steps. {ends or 'No values yet'}."
    caption = "The stronger the line, the fewer weights are left. Means over the seeds."
    return draw(f"learning{i}", caption, alt, paint)


def _awake_at(run: RunData, level: int) -> float:
    found = [r for r in run.results if r.level == level]
    if found:
        return awake_share(found)
    points = [point.awake for point in run.curves if point.level == level]
    return points[-1] if points else math.nan


def training_charts(run: RunData) -> tuple[Plot, Plot]:
    """Loss and validation accuracy over the steps: thin lines are seeds, thick ones the mean."""
    arm = run.meta.arms[0] if run.meta.arms else "train"
    training, validation = (
        learning(run, arm, 0, "train_loss"),
        learning(run, arm, 0, "valid_loss"),
    )
    accuracy = learning(run, arm, 0, "valid_accuracy")

    def paint_loss(pen: Pen) -> None:
        axes = _stepped(pen, "Loss")
        handles = [_seeds(axes, training, 0, "--"), _seeds(axes, validation, 1, "-")]
        pen.legend(handles, ["training", "validation"])

    def paint_accuracy(pen: Pen) -> None:
        axes = _stepped(pen, "Validation accuracy")
        _seeds(axes, accuracy, 1, "-")
        pen.percent_axis(axes.yaxis)

    several = len(accuracy.seeds) > 1
    caption = "Thick: mean over the seeds; thin: each seed." if several else "One seed."
    losses = f"training {_end(training)}, validation {_end(validation)}"
    alt = f"Loss over training steps. At the end: {losses}."
    reached = f"Validation accuracy over training steps. At the end: {_end(accuracy)}."
    return (
        draw("loss", caption, alt, paint_loss),
        draw("validation", caption, reached, paint_accuracy),
    )


def _stepped(pen: Pen, title: str) -> Any:
    axes = pen.figure.subplots()
    axes.set_title(title)
    axes.set_xlabel("training step")
    pen.whole_steps(axes.xaxis)
    return axes


def _end(series: Series) -> str:
    return f"{series.mean[-1]:.4g}" if series.mean else "unknown"


def _seeds(axes: Any, series: Series, i: int, style: str) -> Any:
    if len(series.seeds) > 1:
        for x, y in series.seeds:
            axes.plot(x, y, color=COLOURS[i], alpha=0.3, linewidth=0.7)
    (handle,) = axes.plot(series.x, series.mean, color=COLOURS[i], linestyle=style)
    return handle
