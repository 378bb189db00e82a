"""Nodes over time: how many of each group are awake, and how many began again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from sleepengine.report.node_story import GroupStory, last_step, stories
from sleepengine.report.plots import COLOURS, Pen, Plot, dashes, draw
from sleepengine.report.run_data import RunData
from sleepengine.report.series import thin_out
from sleepengine.report.words import number, short

MOST_GROUPS = len(COLOURS)
MOST_STEPS = 600
Points = Sequence[tuple[int, float]]


def node_charts(run: RunData) -> tuple[Plot, ...]:
    """Awake nodes of each group; nodes that began again, where there were any."""
    told = stories(run)
    every = [one for groups in told.values() for one in groups.values()]
    charts = []
    if any(one.slept_ever or one.woken_ever for one in every):
        charts.append(_chart(run, told, "nodes-awake", "Awake nodes of each group", _awake))
    if any(one.resets for one in every):
        charts.append(_chart(run, told, "nodes-reset", "Nodes that began again, in all", _resets))
    return tuple(charts)


def _awake(group: GroupStory) -> Points:
    return [(0, float(group.size)), *((step, float(awake)) for step, awake in group.awake)]


def _resets(group: GroupStory) -> Points:
    points, total = [(0, 0.0)], 0
    for step, nodes in group.resets:
        total += len(nodes)
        points.append((step, float(total)))
    return points


def held_mean(lines: Sequence[Points], end: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Mean of step functions at every step where one of them changes, and at the end.

    >>> held_mean([[(0, 4.0), (10, 2.0)], [(0, 4.0), (20, 0.0)]], end=30)
    ((0, 10, 20, 30), (4.0, 3.0, 1.0, 1.0))
    """
    steps = sorted({step for line in lines for step, _ in line} | {end})
    places = [[step for step, _ in line] for line in lines]
    return tuple(steps), tuple(
        sum(line[bisect_right(at, step) - 1][1] for line, at in zip(lines, places, strict=True))
        / len(lines)
        for step in steps
    )


def _chart(
    run: RunData,
    told: Mapping[int, Mapping[str, GroupStory]],
    name: str,
    title: str,
    read: Callable[[GroupStory], Points],
) -> Plot:
    groups = next(iter(told.values()))
    shown = thin_out(tuple(groups), MOST_GROUPS)
    end = last_step(run)
    lines = {
        group: held_mean([read(found[group]) for found in told.values()], end) for group in shown
    }

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for i, line in enumerate(lines.values()):
            x, y = thin_out(line[0], MOST_STEPS), thin_out(line[1], MOST_STEPS)
            style = dashes([*lines.values()][:i].count(line))
            handles += axes.plot(x, y, color=COLOURS[i], drawstyle="steps-post", linestyle=style)
        axes.set_ylim(bottom=0.0)
        axes.set_title(title)
        axes.set_xlabel("training step")
        pen.whole_steps(axes.xaxis)
        pen.whole_steps(axes.yaxis)
        pen.legend(handles, [f"{short(one)} (of {groups[one].size})" for one in lines])

    ends = ", ".join(f"{short(one)} {number(y[-1], 1)}" for one, (_, y) in lines.items())
    hidden = len(groups) - len(shown)
    caption = "Means over the seeds." if len(told) > 1 else "One seed."
    caption += f" {hidden} of {len(groups)} groups are not drawn." if hidden else ""
    return draw(name, caption, f"{title} over training steps. At the end: {ends}.", paint)
