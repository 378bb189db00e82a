"""Learning curves: accuracy and loss over the steps of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sleepengine.pipeline.experiments.jobs import DENSE, TICKET
from sleepengine.report.plots import COLOURS, MUTED, Pen, Plot, draw
from sleepengine.report.rows import awake_share, compared, reference
from sleepengine.report.run_data import RunData
from sleepengine.report.series import Series, learning, thin_out, thinned
from sleepengine.report.words import arm_name, share


def learning_charts(run: RunData) -> tuple[Plot, ...]:
    """Validation accuracy over the steps, a chart per arm; the fewer weights, the stronger."""
    names = compared(run) or tuple(dict.fromkeys(point.arm for point in run.curves))
    shown = thin_out(tuple(sorted({point.level for point in run.curves})), 5)
    values = [p.valid_accuracy for p in run.curves if p.level in shown and p.valid_accuracy]
    finite = [value for value in values if math.isfinite(value)]
    limits = (min(finite) - 0.01, max(finite) + 0.005) if finite else (0.0, 1.0)
    return tuple(_learning_chart(run, arm, i, shown, limits) for i, arm in enumerate(names))


def _learning_chart(
    run: RunData, arm: str, i: int, shown: Sequence[int], limits: tuple[float, float]
) -> Plot:
    lines = {level: learning(run, arm, level, "valid_accuracy") for level in shown}
    lines = {level: thinned(line) for level, line in lines.items() if line.x}
    labels = [f"{share(_awake_at(run, arm, level))} left" for level in lines]
    whole = _whole(run, arm)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for rank, line in enumerate(lines.values()):
            alpha = min(1.0, 0.2 + 0.8 * (rank + 1) / len(lines))
            colour = COLOURS[i % len(COLOURS)]
            handles += axes.plot(line.x, line.mean, color=colour, alpha=alpha)
        if whole is not None:
            handles += axes.plot(whole.x, whole.mean, color=MUTED, linestyle="--", linewidth=1.2)
        axes.set_ylim(*limits)
        axes.set_title(f"Validation accuracy, {arm_name(arm)}")
        axes.set_xlabel("training step")
        pen.percent_axis(axes.yaxis)
        pen.whole_steps(axes.xaxis)
        pen.legend(handles, [*labels, *([] if whole is None else [arm_name(DENSE)])])

    ends = "; ".join(
        f"{label}: {100 * line.mean[-1]:.1f}% at step {line.x[-1]}"
        for label, line in zip(labels, lines.values(), strict=True)
    )
    alt = f"Validation accuracy of {arm_name(arm)} over training steps. {ends or 'No values yet'}."
    caption = "The stronger the line, the fewer weights are left. Means over the seeds."
    return draw(f"learning{i}", caption, alt, paint)


def _whole(run: RunData, arm: str) -> Series | None:
    """The curve of the reference arm, for arms that do not begin with all weights themselves."""
    if reference(run) is None or learning(run, arm, 0, "valid_accuracy").x:
        return None
    found = [learning(run, name, 0, "valid_accuracy") for name in (DENSE, TICKET)]
    return next((thinned(series) for series in found if series.x), None)


def _awake_at(run: RunData, arm: str, level: int) -> float:
    """From the results; while the first network of the level is trained, from its curve."""
    found = awake_share(run, arm, level)
    if not math.isnan(found):
        return found
    points = [point.awake for point in run.curves if (point.arm, point.level) == (arm, level)]
    return points[-1] if points else math.nan


def training_charts(run: RunData) -> tuple[Plot, Plot]:
    """Loss and validation accuracy over the steps: thin lines are seeds, thick ones the mean."""
    arm = run.meta.arms[0] if run.meta.arms else "train"
    training = thinned(learning(run, arm, 0, "train_loss"))
    validation = thinned(learning(run, arm, 0, "valid_loss"))
    accuracy = thinned(learning(run, arm, 0, "valid_accuracy"))

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
