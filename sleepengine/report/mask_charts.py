"""Charts of experiments with masks: learning curves, shared weights, tasks then and now."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sleepengine.report.curve_charts import learning_charts
from sleepengine.report.mask_result_charts import shared_layers, then_and_now
from sleepengine.report.plots import COLOURS, MARKERS, MUTED, Pen, Plot, dashes, draw
from sleepengine.report.rows import arms
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Field, Series, learning, over_seeds, thinned
from sleepengine.report.words import arm_name, share, short

Lines = Mapping[str, Series]


def mask_curves(run: RunData) -> tuple[Plot, ...]:
    """How masks, or tasks, were learned; empty where no evaluation was written."""
    return _CURVES[run.meta.experiment](run) if run.curves else ()


def mask_results(run: RunData) -> tuple[Plot, ...]:
    """What came of it, beside the table."""
    return _RESULTS[run.meta.experiment](run) if run.results else ()


# --- curves ------------------------------------------------------------------------------------


def _of_masks(run: RunData) -> tuple[Plot, ...]:
    """Validation accuracy and weights left, a line per mask."""
    names = dict.fromkeys(point.arm for point in run.curves)
    accuracy = {arm_name(arm): learning(run, arm, 0, "valid_accuracy") for arm in names}
    awake = {arm_name(arm): learning(run, arm, 0, "awake") for arm in names if arm != "network"}
    note = over_seeds(run)
    return (
        _steps("masks-accuracy", "Validation accuracy", f"Each on its own task. {note}", accuracy),
        _steps("masks-awake", "Weights left", note, awake, first=1),
    )


def _of_tasks(run: RunData) -> tuple[Plot, ...]:
    """The same with the tasks one after another; a line begins anew with every task."""
    names = [arm for arm in run.meta.arms if any(point.arm == arm for point in run.curves)]
    note = f"A line at the beginning of each task. {over_seeds(run)}"
    accuracy = {arm_name(arm): _joined(run, arm, "valid_accuracy") for arm in names}
    awake = {arm_name(arm): _joined(run, arm, "awake") for arm in names}
    starts = _starts(run, names[0]) if names else ()
    title = "Validation accuracy on the task at hand"
    return (
        _steps("tasks-accuracy", title, note, accuracy, starts=starts),
        _steps("tasks-awake", "Weights left", note, awake, starts=starts),
    )


def _of_levels(run: RunData) -> tuple[Plot, ...]:
    known = {point.arm for point in run.curves}
    charts = zip(arms(run) or tuple(known), learning_charts(run), strict=False)
    return tuple(chart for arm, chart in charts if arm in known)


def _starts(run: RunData, arm: str) -> tuple[int, ...]:
    """Step, over all tasks, at which each task begins."""
    starts = [0]
    for level in sorted({point.level for point in run.curves}):
        ends = [p.step for p in run.curves if (p.arm, p.level) == (arm, level)]
        starts.append(starts[-1] + max(ends, default=0))
    return tuple(starts[:-1])


def _joined(run: RunData, arm: str, what: Field) -> Series:
    """The levels one after another, with a gap between two."""
    x: list[int] = []
    mean: list[float] = []
    places = zip(sorted({p.level for p in run.curves}), _starts(run, arm), strict=False)
    for level, start in places:
        line = learning(run, arm, level, what)
        if x and line.x:
            x.append(start)
            mean.append(math.nan)
        x += [start + step for step in line.x]
        mean += line.mean
    return Series(tuple(x), tuple(mean), ())


def _steps(
    name: str,
    title: str,
    caption: str,
    lines: Lines,
    *,
    first: int = 0,
    starts: Sequence[int] = (),
) -> Plot:
    """Lines over training steps; `first` is the colour of the first line."""
    shown = {label: thinned(line) for label, line in lines.items() if line.x}

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        for start in starts:
            axes.axvline(start, color=MUTED, linewidth=0.5, alpha=0.5, zorder=0.5)
        handles: list[Any] = []
        drawn: list[Series] = []
        for i, line in enumerate(shown.values(), start=first):
            style = dashes(drawn.count(line))
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            few = marker if len(line.x) <= 40 else None
            handles += axes.plot(
                line.x, line.mean, color=colour, linestyle=style, marker=few, markersize=3.5
            )
            drawn.append(line)
        axes.set_title(title)
        axes.set_xlabel("training step")
        pen.percent_axis(axes.yaxis)
        pen.whole_steps(axes.xaxis)
        pen.legend(handles, [short(label) for label in shown])

    ends = ", ".join(f"{label} {share(line.mean[-1])}" for label, line in shown.items())
    return draw(name, caption, f"{title} over training steps. At the end: {ends}.", paint)


def _none(run: RunData) -> tuple[Plot, ...]:
    return ()


_CURVES: Mapping[str, Callable[[RunData], tuple[Plot, ...]]] = {
    "mask_training": _of_masks,
    "supermask": _of_levels,
    "task_masks": _of_tasks,
}
_RESULTS: Mapping[str, Callable[[RunData], tuple[Plot, ...]]] = {
    "mask_training": shared_layers,
    "supermask": _none,
    "task_masks": then_and_now,
}
