"""How sparsity spreads over the layers and over time, and what a schedule plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sleepengine.report.plots import COLOURS, INK, MARKERS, MUTED, Pen, Plot, draw
from sleepengine.report.rows import arms
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Series, final_layers, layer, learning, thin_out
from sleepengine.report.words import arm_name, share, short

MOST_LAYERS = len(COLOURS)


@dataclass(frozen=True)
class PlannedAction:
    """One firing of one rule in a schedule that has not run yet.

    `target` is the planned sleeping share, None for a rule without one; `layers` the planned
    sleeping share of each tensor, where it is known.
    """

    step: int
    rule: str
    target: float | None
    layers: Mapping[str, float] = field(default_factory=dict)


def layers_chart(run: RunData) -> Plot:
    """Awake share of each layer over the levels of a lottery or the steps of a training."""
    arm = _first_arm(run)
    lottery = run.meta.experiment == "lottery"
    lines = _by_level(run, arm) if lottery else _by_step(run, arm)
    bold = _named(lines)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        for name, line in lines.items():
            if name not in bold:
                axes.plot(line.x, line.mean, color=MUTED, alpha=0.35, linewidth=0.7)
        handles = [_line(axes, lines[name], i, marked=lottery) for i, name in enumerate(bold)]
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
    awake = learning(run, arm, 0, "awake")
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
    caption = f"Ticks on the axis: a rule acted ({len(actions)} steps)."
    return draw("sparsity", caption, alt, paint)


def schedule_chart(plan: Sequence[PlannedAction]) -> Plot:
    """The planned sleeping share at every firing, one line per rule, and per layer below it."""
    rules = tuple(dict.fromkeys(action.rule for action in plan))
    layered = [action for action in plan if action.layers]
    names = thin_out(tuple(dict.fromkeys(n for a in layered for n in a.layers)), MOST_LAYERS)

    def paint(pen: Pen) -> None:
        panels = pen.figure.subplots(2 if layered else 1, 1, sharex=True, squeeze=False)[:, 0]
        handles = [
            _firings(panels[0], [a for a in plan if a.rule == rule], i, len(rules))
            for i, rule in enumerate(rules)
        ]
        panels[0].set_title("Planned share asleep")
        for i, name in enumerate(names):
            steps = [a.step for a in layered if name in a.layers]
            values = [a.layers[name] for a in layered if name in a.layers]
            panels[1].plot(steps, values, color=COLOURS[i], drawstyle="steps-post")
            panels[1].annotate(
                short(name, 20),
                (steps[-1], values[-1]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=8,
                annotation_clip=False,
            )
        for axes in panels:
            pen.percent_axis(axes.yaxis)
            axes.set_ylim(0.0, 1.02)
        if layered:
            panels[1].set_title("Planned share asleep of each layer")
        pen.whole_steps(panels[-1].xaxis)
        panels[-1].set_xlabel("training step")
        pen.legend(handles, [short(rule) for rule in rules])

    words = "; ".join(_rule_words(rule, plan) for rule in rules)
    alt = f"Planned schedule. {words or 'No actions'}."
    caption = "Share of weights that each firing aims at; a bar is a firing without a target."
    return draw("schedule", caption, alt, paint, 5.4 if layered else 3.2)


def _firings(axes: Any, actions: Sequence[PlannedAction], i: int, rules: int) -> Any:
    aimed = [(a.step, a.target) for a in actions if a.target is not None]
    colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
    bare = [a.step for a in actions if a.target is None]
    if bare:
        height = [0.04 + 0.05 * i] * len(bare)
        (ticks,) = axes.plot(bare, height, color=colour, linestyle="none", marker="|", markersize=8)
    if not aimed:
        return ticks
    steps, targets = zip(*aimed, strict=True)
    size = 3.5 if len(steps) <= 40 else 0.0
    (line,) = axes.plot(
        steps, targets, color=colour, marker=marker, markersize=size, drawstyle="steps-post"
    )
    return line


def _rule_words(rule: str, plan: Sequence[PlannedAction]) -> str:
    mine = [action for action in plan if action.rule == rule]
    targets = [action.target for action in mine if action.target is not None]
    end = f", to {share(targets[-1])} asleep" if targets else ""
    return f"{short(rule)}: {len(mine)} times, steps {mine[0].step} to {mine[-1].step}{end}"


def _whose(run: RunData, arm: str) -> str:
    name = "" if run.meta.experiment == "train" else f" of {arm_name(arm)}"
    return f"Means over the seeds{name}."


def _hidden(lines: Mapping[str, Series], bold: Sequence[str]) -> str:
    rest = sum(1 for line in lines.values() if line.mean) - len(bold)
    return (
        f" Named: the layers that end with the least and the most; {rest} in grey." if rest else ""
    )


def _first_arm(run: RunData) -> str:
    found = arms(run) or run.meta.arms
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
    return {name: layer(run, arm, 0, name) for name in names}


def _named(lines: Mapping[str, Series]) -> tuple[str, ...]:
    """The layers to name: all when few, else those that end with the least and the most awake."""
    names = [name for name, line in lines.items() if line.mean]
    if len(names) <= MOST_LAYERS:
        return tuple(names)
    ordered = sorted(names, key=lambda name: lines[name].mean[-1])
    kept = {*ordered[: MOST_LAYERS // 2], *ordered[-(MOST_LAYERS - MOST_LAYERS // 2) :]}
    return tuple(name for name in names if name in kept)


def _line(axes: Any, line: Series, i: int, *, marked: bool) -> Any:
    marker = MARKERS[i] if marked else None
    style = "default" if marked else "steps-post"
    (handle,) = axes.plot(line.x, line.mean, color=COLOURS[i], marker=marker, drawstyle=style)
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
