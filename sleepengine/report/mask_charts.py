"""Charts of experiments with masks: learning curves, shared weights, tasks then and now."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sleepengine.report.curve_charts import learning_charts
from sleepengine.report.plots import COLOURS, MARKERS, MUTED, Pen, Plot, dashes, draw
from sleepengine.report.rows import arms, by_seed, levels
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Field, Series, learning, thinned
from sleepengine.report.statistics import Interval, mean_interval
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
    note = _seeds(run)
    return (
        _steps("masks-accuracy", "Validation accuracy", f"Each on its own task. {note}", accuracy),
        _steps("masks-awake", "Weights left", note, awake, first=1),
    )


def _of_tasks(run: RunData) -> tuple[Plot, ...]:
    """The same with the tasks one after another; a line begins anew with every task."""
    names = [arm for arm in run.meta.arms if any(point.arm == arm for point in run.curves)]
    note = f"A line at the beginning of each task. {_seeds(run)}"
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


def _seeds(run: RunData) -> str:
    return "Means over the seeds." if len(run.meta.seeds) > 1 else "One seed."


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


# --- results -----------------------------------------------------------------------------------


def _shared_layers(run: RunData) -> tuple[Plot, ...]:
    """Of the weights that the tasks' masks keep in a layer, those that a mask shares: bars."""
    found: dict[str, dict[str, list[float]]] = {}
    for result in run.results:
        for name, value in (result.shared_layers or {}).items():
            found.setdefault(result.arm, {}).setdefault(name, []).append(value)
    if not found:
        return ()
    if len(found) == 2:  # what one of two shares, the other does
        found = {" and ".join(map(arm_name, found)): next(iter(found.values()))}
    names = list(dict.fromkeys(name for layers in found.values() for name in layers))
    means = {
        arm: [mean_interval(layers[n]).mean if n in layers else 0.0 for n in names]
        for arm, layers in found.items()
    }

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        width = 0.8 / len(means)
        handles = []
        for i, heights in enumerate(means.values()):
            places = [group + (i - (len(means) - 1) / 2) * width for group in range(len(names))]
            colour = COLOURS[(i + 2) % len(COLOURS)]
            handles.append(axes.bar(places, heights, width * 0.9, color=colour, linewidth=0))
        axes.set_ylim(0.0, 1.0)
        axes.set_title("Weights shared with another task")
        pen.percent_axis(axes.yaxis)
        ticks = [float(group) for group in range(len(names))]
        room = max(8, 48 // len(names))
        pen.fixed_ticks(axes.xaxis, ticks, [short(name, room) for name in names])
        pen.legend(handles, [arm_name(arm) for arm in means])

    words = "; ".join(
        f"{arm_name(arm)}: " + ", ".join(f"{n} {share(v)}" for n, v in zip(names, of, strict=True))
        for arm, of in means.items()
    )
    caption = f"Of the weights that any task's mask keeps in a layer. {_seeds(run)}"
    return (draw("shared", caption, f"Weights shared with another task. {words}.", paint),)


def _then_and_now(run: RunData) -> tuple[Plot, ...]:
    """Accuracy of every task when it had just been learned, and after all of them."""
    names, tasks = arms(run), levels(run)
    then = {arm: [_mean(run, arm, k, then=True) for k in tasks] for arm in names}
    now = {arm: [_mean(run, arm, k, then=False) for k in tasks] for arm in names}

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for i, arm in enumerate(names):
            shift = 0.24 * (i - (len(names) - 1) / 2)
            for k, before, after in zip(tasks, then[arm], now[arm], strict=True):
                place = k + 1 + shift
                if before is not None and after is not None:
                    ends = [before.mean, after.mean]
                    axes.plot([place] * 2, ends, color=COLOURS[i], linewidth=1.2, alpha=0.5)
            for values, face in ((then[arm], "none"), (now[arm], COLOURS[i])):
                known = [(k + 1 + shift, v.mean) for k, v in zip(tasks, values, strict=True) if v]
                (handle,) = axes.plot(
                    [x for x, _ in known],
                    [y for _, y in known],
                    linestyle="none",
                    marker=MARKERS[i % len(MARKERS)],
                    markersize=6.5,
                    color=COLOURS[i],
                    markerfacecolor=face,
                )
            handles.append(handle)
        axes.set_title("Each task, then and now")
        axes.set_xlabel("task")
        pen.fixed_ticks(axes.xaxis, [float(k + 1) for k in tasks], [str(k + 1) for k in tasks])
        pen.percent_axis(axes.yaxis)
        pen.legend(handles, [arm_name(arm) for arm in names])

    words = "; ".join(
        f"{arm_name(arm)}: "
        + ", ".join(
            f"task {k + 1} {share(a.mean)} then, {share(b.mean)} now"
            for k, a, b in zip(tasks, then[arm], now[arm], strict=True)
            if a and b
        )
        for arm in names
    )
    caption = f"Test accuracy. Hollow: when just learned; full: after all tasks. {_seeds(run)}"
    return (draw("tasks", caption, f"Each task, then and now. {words}.", paint),)


def _mean(run: RunData, arm: str, level: int, *, then: bool) -> Interval | None:
    found = by_seed(run, arm, level, lambda r: r.then_accuracy if then else r.test_accuracy)
    return mean_interval([*found.values()]) if found else None


def _none(run: RunData) -> tuple[Plot, ...]:
    return ()


_CURVES: Mapping[str, Callable[[RunData], tuple[Plot, ...]]] = {
    "mask_training": _of_masks,
    "supermask": _of_levels,
    "task_masks": _of_tasks,
}
_RESULTS: Mapping[str, Callable[[RunData], tuple[Plot, ...]]] = {
    "mask_training": _shared_layers,
    "supermask": _none,
    "task_masks": _then_and_now,
}
