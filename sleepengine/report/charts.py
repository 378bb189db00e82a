"""Accuracy and speed of learning against the weights that are left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepengine.report.plots import COLOURS, MARKERS, MUTED, STYLES, Pen, Plot, draw
from sleepengine.report.rows import (
    Reading,
    accuracy_of,
    arms,
    best_step,
    compared,
    labels,
    level_rows,
    reference,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import Interval
from sleepengine.report.words import arm_name, share, short

REFERENCE_STYLES = ("--", "-.", ":")


@dataclass(frozen=True)
class Line:
    """One line of a chart against the share of awake weights, with an interval at each point.

    `flat`: a reference, the same at every share, drawn from side to side.
    """

    label: str
    awake: tuple[float, ...]
    values: tuple[Interval, ...]
    flat: bool = False


def lines_of(run: RunData, reading: Reading, label: str = "") -> tuple[Line, ...]:
    """One line per arm of a run, the reference arm last; `label` stands before the arm, if any.

    A run with one arm needs no more than its label.
    """
    rows = level_rows(run, reading)
    alone = len(arms(run)) == 1

    def named(arm: str) -> str:
        if not label:
            return arm_name(arm)
        return label if alone else f"{label}: {arm_name(arm)}"

    lines = []
    for arm in compared(run):
        mine = [row for row in rows if arm in row.cells]
        places = tuple(row.shares[arm] for row in mine)
        lines.append(Line(named(arm), places, tuple(row.cells[arm] for row in mine)))
    fixed = reference(run)
    if fixed is not None and rows and fixed in rows[0].cells:
        value = rows[0].cells[fixed]
        lines.append(Line(named(fixed), (1.0,), (value,), flat=True))
    return tuple(line for line in lines if line.values)


def accuracy_chart(run: RunData) -> Plot:
    """Test accuracy against the share of weights left, one line per arm with its 95% band."""
    lines = lines_of(run, accuracy_of)
    return against_weights(lines, "accuracy", "Test accuracy", _spread(lines), percent=True)


def speed_chart(run: RunData) -> Plot:
    """Steps to the best validation against the share of weights left."""
    lines = lines_of(run, best_step)
    title = "Steps to the best validation"
    note = f"Fewer steps: the network learns faster. {_ceiling(run)}{_spread(lines)}"
    return against_weights(lines, "speed", title, note, percent=False)


def _ceiling(run: RunData) -> str:
    """A note where training ended before the validation got worse: the true number is higher."""
    ended = {r.steps for r in run.results if r.best_valid_step == r.steps}
    if len(ended) != 1:
        return ""
    return f"At {ended.pop()} training ended while the validation still got better. "


def compare_chart(runs: Sequence[RunData]) -> Plot:
    """Test accuracy against weights left, one line per run and arm."""
    lines = [
        line
        for run, label in zip(runs, labels(runs), strict=True)
        for line in lines_of(run, accuracy_of, short(label, 40))
    ]
    return against_weights(lines, "compare", "Test accuracy", _spread(lines), percent=True)


def _spread(lines: Sequence[Line]) -> str:
    if any(value.half_width is not None for line in lines for value in line.values):
        points = any(len(line.awake) == 1 and not line.flat for line in lines)
        spread = "bands and bars" if points else "bands"
        return f"Means over the seeds, {spread} their 95% intervals."
    return "One seed, so there are no intervals."


def against_weights(
    lines: Sequence[Line], name: str, title: str, caption: str, *, percent: bool
) -> Plot:
    """Lines against the share of awake weights on a logarithmic axis, all weights on the left."""

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = [
            _flat(axes, line, i) if line.flat else _band(axes, line, i)
            for i, line in _numbered(lines)
        ]
        axes.set_xscale("log")
        found = sorted({awake for line in lines for awake in line.awake if awake > 0.0})
        places = ticks(found)
        pen.fixed_ticks(axes.xaxis, places, [share(place) for place in places])
        if found:  # from all weights to the fewest, with a margin as wide as a marker
            margin = max(1.05, (found[-1] / found[0]) ** 0.05)
            axes.set_xlim(found[-1] * margin, found[0] / margin)
        if percent:
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, -0.02), min(high, 1.02))  # no interval leads beyond all or none
            pen.percent_axis(axes.yaxis)
        else:
            pen.whole_steps(axes.yaxis)
        axes.set_xlabel("weights left (logarithmic)")
        axes.set_title(title)
        pen.legend(handles, [line.label for line in lines])

    words = "; ".join(_line_words(line, percent) for line in lines)
    alt = f"{title} against the share of weights left. {words or 'No values yet'}."
    return draw(name, caption, alt, paint)


def _numbered(lines: Sequence[Line]) -> list[tuple[int, Line]]:
    """Each line with its place among those of its kind."""
    seen = {True: 0, False: 0}
    numbered = []
    for line in lines:
        numbered.append((seen[line.flat], line))
        seen[line.flat] += 1
    return numbered


def _flat(axes: Any, line: Line, i: int) -> Any:
    """A reference: a thin grey line from side to side, with its band."""
    (value,) = line.values
    axes.axhspan(value.low, value.high, color=MUTED, alpha=0.12, linewidth=0, zorder=0.5)
    style = REFERENCE_STYLES[i % len(REFERENCE_STYLES)]
    return axes.axhline(value.mean, color=MUTED, linestyle=style, linewidth=1.2)


def _point(axes: Any, line: Line, colour: str, marker: str) -> Any:
    """A line of one point: an open mark, so that others show through, and its interval."""
    (value,) = line.values
    axes.vlines(line.awake, value.low, value.high, color=colour, linewidth=1.2, alpha=0.6)
    (handle,) = axes.plot(
        line.awake,
        [value.mean],
        color=colour,
        linestyle="none",
        marker=marker,
        markersize=7.5,
        markerfacecolor="none",
        markeredgewidth=1.6,
        clip_on=False,
    )
    return handle


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
    # Colours come again after the last; the marks are then shifted by one.
    marker = MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]
    if len(line.awake) == 1:
        return _point(axes, line, colour, marker)
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
    if line.flat:
        return f"{line.label}: {word(first)} throughout"
    return (
        f"{line.label}: {word(first)} at {share(line.awake[0])}, "
        f"{word(last)} at {share(line.awake[-1])}"
    )


def ticks(places: Sequence[float], most: int = 8) -> list[float]:
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
