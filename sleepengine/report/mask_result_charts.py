"""What came of experiments with masks: shared weights, tasks then and now, tasks side by side."""

from __future__ import annotations

from collections.abc import Sequence

from sleepengine.report.plots import COLOURS, MARKERS, Pen, Plot, dashes, draw
from sleepengine.report.rows import arms, by_seed, labels, levels
from sleepengine.report.run_data import RunData
from sleepengine.report.series import over_seeds
from sleepengine.report.statistics import Interval, mean_interval
from sleepengine.report.words import arm_name, share, short


def shared_layers(run: RunData) -> tuple[Plot, ...]:
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
    caption = f"Of the weights that any task's mask keeps in a layer. {over_seeds(run)}"
    return (draw("shared", caption, f"Weights shared with another task. {words}.", paint),)


def then_and_now(run: RunData) -> tuple[Plot, ...]:
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
    caption = f"Test accuracy. Hollow: when just learned; full: after all tasks. {over_seeds(run)}"
    return (draw("tasks", caption, f"Each task, then and now. {words}.", paint),)


def tasks_chart(runs: Sequence[RunData]) -> Plot:
    """Accuracy on every task after all of them, a line per run and arm."""
    found = {
        f"{label}: {arm_name(arm)}": [_mean(run, arm, k, then=False) for k in levels(run)]
        for run, label in zip(runs, labels(runs), strict=True)
        for arm in arms(run)
    }
    most = max(len(values) for values in found.values())

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for i, values in enumerate(found.values()):
            known = [(k + 1, v.mean) for k, v in enumerate(values) if v]
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            x, y = [k for k, _ in known], [mean for _, mean in known]
            style = dashes([*found.values()][:i].count(values))
            handles += axes.plot(x, y, color=colour, marker=marker, linestyle=style)
        places = [float(k) for k in range(1, most + 1)]
        pen.fixed_ticks(axes.xaxis, places, [f"{k:g}" for k in places])
        pen.percent_axis(axes.yaxis)
        axes.set_title("Each task after all of them")
        axes.set_xlabel("task")
        pen.legend(handles, [short(label, 40) for label in found])

    words = "; ".join(
        f"{label}: " + ", ".join(share(v.mean) for v in values if v)
        for label, values in found.items()
    )
    caption = "Test accuracy, means over the seeds."
    return draw("compare-tasks", caption, f"Accuracy on each task. {words}.", paint)


def _mean(run: RunData, arm: str, level: int, *, then: bool) -> Interval | None:
    found = by_seed(run, arm, level, lambda r: r.then_accuracy if then else r.test_accuracy)
    return mean_interval([*found.values()]) if found else None
