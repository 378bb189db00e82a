"""How sparsity spreads over the layers and over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from sleepengine.report.plots import COLOURS, MARKERS, MUTED, Pen, Plot, dashes, draw
from sleepengine.report.rows import compared
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Series, awake_series, final_layers, thin_out, thinned
from sleepengine.report.words import arm_name, share, short

MOST_LAYERS = len(COLOURS)
MOST_STEPS = 600
MOST_GREY = 25
COINCIDE = 0.008  # shares nearer than this look like one line


def layers_chart(run: RunData) -> Plot:
    """Awake share of each layer over the levels of a lottery or the steps of a training."""
    arm = _first_arm(run)
    lottery = run.meta.experiment == "lottery"
    lines = _by_level(run, arm) if lottery else _by_step(run, arm)
    bold = _named(lines)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        for line in thin_out([line for name, line in lines.items() if name not in bold], MOST_GREY):
            if line.mean:
                faint = thinned(line, MOST_STEPS // 4)
                style = "default" if lottery else "steps-post"
                axes.plot(
                    faint.x, faint.mean, color=MUTED, alpha=0.35, linewidth=0.7, drawstyle=style
                )
        handles = [
            _line(axes, lines[name], i, marked=lottery, rank=_covers(i, [lines[n] for n in bold]))
            for i, name in enumerate(bold)
        ]
        if any(share > 0.0 for line in lines.values() for share in line.mean) and lottery:
            axes.set_yscale("log")
        _share_axis(pen, axes, log=lottery)
        pen.whole_steps(axes.xaxis)
        axes.set_xlabel("level" if lottery else "training step")
        axes.set_title("Awake share of each layer" + (", logarithmic" if lottery else ""))
        pen.legend(handles, [short(name) for name in bold])

    words = ", ".join(f"{short(n)} {share(lines[n].mean[-1])}" for n in bold if lines[n].mean)
    alt = f"Awake share of each layer over time. At the end: {words or 'nothing yet'}."
    caption = f"{_whose(run, arm)}{_hidden(lines, bold)}"
    return draw("layers", caption, alt, paint)


def bars_chart(run: RunData) -> Plot:
    """Awake share of each layer as bars, a group for each of a few levels."""
    arm = _first_arm(run)
    shown = thin_out(tuple(sorted({p.level for p in run.curves if p.arm == arm})), 6)
    ends = {level: final_layers(run, arm, level) for level in shown}
    names = thin_out(tuple(dict.fromkeys(n for found in ends.values() for n in found)), MOST_LAYERS)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        width = 0.8 / max(1, len(names))
        handles = []
        for i, name in enumerate(names):
            places = [group + (i - (len(names) - 1) / 2) * width for group in range(len(shown))]
            heights = [ends[level].get(name, 0.0) for level in shown]
            bars = axes.bar(places, heights, width * 0.9, color=COLOURS[i], linewidth=0)
            handles.append(bars)
        pen.percent_axis(axes.yaxis)
        ticks = [float(group) for group in range(len(shown))]
        pen.fixed_ticks(axes.xaxis, ticks, [f"level {level}" for level in shown])
        axes.set_title("Awake share of each layer")
        pen.legend(handles, [short(name) for name in names])

    words = "; ".join(
        f"level {level}: "
        + ", ".join(f"{short(n)} {share(v)}" for n, v in found.items() if n in names)
        for level, found in ends.items()
    )
    alt = f"Awake share of each layer at the end of the levels. {words}"
    caption = f"{_whose(run, arm)} The same shares on a plain axis."
    return draw("bars", caption, alt, paint)


def sparsity_chart(run: RunData) -> Plot:
    """Share of weights asleep over the steps of a training, with a mark at every action."""
    arm = _first_arm(run)
    awake = thinned(awake_series(run, arm, 0), MOST_STEPS)
    actions = sorted({line.step for line in run.journal if line.arm == arm and line.level == 0})

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        asleep = [1.0 - value for value in awake.mean]
        axes.plot(awake.x, asleep, color=COLOURS[0], drawstyle="steps-post")
        marks = thin_out(actions, 200)
        axes.plot(
            marks,
            [0.0] * len(marks),
            linestyle="none",
            marker="|",
            color=MUTED,
            markersize=7,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
        axes.set_ylim(bottom=0.0)
        pen.percent_axis(axes.yaxis)
        pen.whole_steps(axes.xaxis)
        axes.set_xlabel("training step")
        axes.set_title("Weights asleep")

    end = share(1.0 - awake.mean[-1]) if awake.mean else "unknown"
    alt = f"Share of weights asleep over training steps, at the end {end}; {len(actions)} actions."
    steps = "1 step" if len(actions) == 1 else f"{len(actions)} steps"
    caption = f"Ticks on the axis: a rule acted ({steps})."
    return draw("sparsity", caption, alt, paint)


def _whose(run: RunData, arm: str) -> str:
    name = "" if run.meta.experiment == "train" else f" of {arm_name(arm)}"
    return f"Means over the seeds{name}."


def _hidden(lines: Mapping[str, Series], bold: Sequence[str]) -> str:
    rest = sum(1 for line in lines.values() if line.mean) - len(bold)
    return (
        f" Named: the layers that end with the least and the most; {rest} in grey." if rest else ""
    )


def _first_arm(run: RunData) -> str:
    found = compared(run) or run.meta.arms
    return found[0] if found else "train"


def _by_level(run: RunData, arm: str) -> dict[str, Series]:
    ends = {
        k: final_layers(run, arm, k) for k in sorted({p.level for p in run.curves if p.arm == arm})
    }
    names = dict.fromkeys(name for found in ends.values() for name in found)
    return {
        name: Series(
            tuple(k for k, found in ends.items() if name in found),
            tuple(found[name] for found in ends.values() if name in found),
            (),
        )
        for name in names
    }


def _by_step(run: RunData, arm: str) -> dict[str, Series]:
    names = dict.fromkeys(name for point in run.curves for name in point.layers)
    return {name: thinned(awake_series(run, arm, 0, name), MOST_STEPS) for name in names}


def _named(lines: Mapping[str, Series]) -> tuple[str, ...]:
    """The layers to name: all when few, else those that end with the least and the most awake."""
    names = [name for name, line in lines.items() if line.mean]
    if len(names) <= MOST_LAYERS:
        return tuple(names)
    ordered = sorted(names, key=lambda name: lines[name].mean[-1])
    kept = {*ordered[: MOST_LAYERS // 2], *ordered[-(MOST_LAYERS - MOST_LAYERS // 2) :]}
    return tuple(name for name in names if name in kept)


def _covers(i: int, lines: Sequence[Series]) -> int:
    """How many earlier lines line `i` lies on for all its length, so that it would hide them."""
    return sum(_alike(lines[i], other) for other in lines[:i])


def _alike(one: Series, other: Series) -> bool:
    """Whether two lines are the same to the eye; they need not have points at the same steps."""
    if not one.x or not other.x or (one.x[0], one.x[-1]) != (other.x[0], other.x[-1]):
        return False
    return all(abs(_held(one, x) - _held(other, x)) <= COINCIDE for x in {*one.x, *other.x})


def _held(line: Series, x: int) -> float:
    """The last value up to `x`."""
    return line.mean[bisect_right(line.x, x) - 1]


def _line(axes: Any, line: Series, i: int, *, marked: bool, rank: int) -> Any:
    """A layer; one that lies over another is dashed with open marks, so that both are seen."""
    (handle,) = axes.plot(
        line.x,
        line.mean,
        color=COLOURS[i],
        marker=MARKERS[i] if marked else None,
        drawstyle="default" if marked else "steps-post",
        linestyle=dashes(rank),
        markerfacecolor="none" if rank else COLOURS[i],
        markersize=4.5 + 3.5 * rank,
    )
    return handle


def _share_axis(pen: Pen, axes: Any, *, log: bool) -> None:
    if not log:
        axes.set_ylim(0.0, 1.02)
        pen.percent_axis(axes.yaxis)
        return
    low = min(axes.get_ylim()[0], 0.5)
    places = [p for p in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001) if p >= low]
    axes.set_ylim(low, 1.15)
    pen.fixed_ticks(axes.yaxis, places, [f"{100 * place:g}%" for place in places])
