"""What a schedule plans: the share asleep over time, and when each rule fires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sleepengine.report.plots import COLOURS, INK, Pen, Plot, dashes, draw
from sleepengine.report.series import thin_out
from sleepengine.report.words import share, short

MOST_LAYERS = len(COLOURS)
MOST_MARKS = 400


@dataclass(frozen=True)
class PlannedAction:
    """One firing of one rule in a schedule that has not run yet.

    `asleep` is the sleeping share of all weights afterwards, None where it is not known; `layers`
    that of each tensor.
    """

    step: int
    rule: str
    asleep: float | None
    layers: Mapping[str, float] = field(default_factory=dict)


def schedule_chart(
    plan: Sequence[PlannedAction], end: int | None = None, unit: str = "training step"
) -> Plot:
    """Above the share asleep, all weights and each layer; below a mark wherever a rule fires.

    `end` is where the axis ends (the last firing if None), `unit` what it counts.
    """
    rules = tuple(dict.fromkeys(action.rule for action in plan))
    end = max((action.step for action in plan), default=0) if end is None else end
    everything = _points([(a.step, a.asleep) for a in plan if a.asleep is not None], end)
    names = thin_out(tuple(dict.fromkeys(n for a in plan for n in a.layers)), MOST_LAYERS)
    layers = {
        n: _points([(a.step, a.layers[n]) for a in plan if n in a.layers], end) for n in names
    }

    def paint(pen: Pen) -> None:
        shares, firings = pen.figure.subplots(
            2, 1, sharex=True, height_ratios=(2.6, 0.35 + 0.3 * max(1, len(rules)))
        )
        handles = []
        for i, (x, y) in enumerate(layers.values()):
            style = dashes([*layers.values()][:i].count((x, y)))
            handles += shares.plot(x, y, color=COLOURS[i], drawstyle="steps-post", linestyle=style)
        handles += shares.plot(*everything, color=INK, linewidth=1.0, drawstyle="steps-post")
        shares.set_ylim(0.0, 1.02)
        shares.set_title("Share asleep")
        pen.percent_axis(shares.yaxis)
        for i, rule in enumerate(rules):
            steps = thin_out([action.step for action in plan if action.rule == rule], MOST_MARKS)
            firings.plot(
                steps, [i] * len(steps), linestyle="none", marker="|", markersize=8, color=INK
            )
        firings.set_ylim(max(1, len(rules)) - 0.4, -0.6)
        firings.set_title("Firings")
        firings.grid(visible=False)
        pen.fixed_ticks(firings.yaxis, [float(i) for i in range(len(rules))], [*map(short, rules)])
        pen.whole_steps(firings.xaxis)
        firings.set_xlabel(unit)
        pen.legend(handles, [*map(short, names), "all weights"])

    words = "; ".join(_rule_words(rule, plan, unit) for rule in rules)
    last = f", {share(everything[1][-1])} asleep at the end" if everything[1] else ""
    alt = f"Planned schedule. {words or 'No actions'}{last}."
    caption = "The share of weights asleep; below, a mark for every firing of each rule."
    return draw("schedule", caption, alt, paint, 3.9 + 0.3 * len(rules))


def _points(
    found: Sequence[tuple[int, float]], end: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """From nothing asleep to the last share, which holds until the end."""
    if not found:
        return (), ()
    steps = dict([(0, 0.0), *found, (end, found[-1][1])])
    return tuple(steps), tuple(steps.values())


def _rule_words(rule: str, plan: Sequence[PlannedAction], unit: str) -> str:
    steps = [action.step for action in plan if action.rule == rule]
    times = "once" if len(steps) == 1 else f"{len(steps)} times"
    return f"{short(rule)}: {times}, {unit} {steps[0]} to {steps[-1]}"
