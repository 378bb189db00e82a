"""What the commands print: tables of results and of plans."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sleepengine.errors import SetupError
from sleepengine.pipeline.outcome import RunResult
from sleepengine.pipeline.plan import Plan, PlannedFiring
from sleepengine.report.layer_charts import PlannedAction, schedule_chart
from sleepengine.report.page import write_report
from sleepengine.report.run_data import RunData
from sleepengine.report.series import thin_out
from sleepengine.report.tables import compare_table, show_table
from sleepengine.report.words import count, share, short

MOST_FIRINGS = 40
MOST_LAYERS = 6
PIPED_WIDTH = 120
DASH = "–"


def _console(*, error: bool = False) -> Console:
    # Made when used: the streams may have been exchanged since the module was loaded.
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else PIPED_WIDTH)


def _say(words: str) -> None:
    """One line as it is, never wrapped: paths are to be copied."""
    _console().print(Text(words), soft_wrap=True)


def finish(result: RunResult, *, quiet: bool, report: bool) -> None:
    """The results, the folder, and the page."""
    page = _page(result.folder) if report else None
    if quiet:
        _say(str(result.folder))
        return
    show_run(result.folder)
    _say(f"run folder: {result.folder}")
    if page is not None:
        _say(f"report: {page}")


def _page(folder: Path) -> Path | None:
    """The page, or a note on why there is none: the run itself went well."""
    try:
        return write_report(folder)
    except SetupError as fault:
        _console(error=True).print(Text(f"no report page: {fault}"), soft_wrap=True)
        return None


def show_run(folder: Path) -> None:
    """The results table of a run."""
    _console().print(show_table(RunData.load(folder)))


def show_comparison(folders: Sequence[Path]) -> None:
    """Several runs side by side."""
    _console().print(compare_table([RunData.load(folder) for folder in folders]))


def show_plan(plan: Plan) -> None:
    """Parameters, then firings."""
    console = _console()
    networks = "1 network" if plan.networks == 1 else f"{plan.networks} networks"
    console.print(
        Text(
            f"{plan.name} ({plan.experiment}): {plan.model}, {count(plan.parameters)} parameters, "
            f"{count(plan.maskable)} may sleep; {networks} of {count(plan.total_steps)} steps "
            f"({count(plan.steps_per_epoch)} per epoch)"
        )
    )
    console.print(_tensor_table(plan))
    if not plan.firings:
        console.print("No rules: nothing will sleep.")
        return
    console.print(_firing_table(plan))
    if len(plan.firings) > MOST_FIRINGS:
        console.print(f"{MOST_FIRINGS} of {count(len(plan.firings))} firings are shown.")
    if not plan.spread_is_exact:
        console.print(
            "The spread over the layers depends on the scores; shown: as the first weights' size "
            "would have it."
        )


def _table(title: str, columns: Sequence[str], left: int) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if number < left else "right")
    return table


def _tensor_table(plan: Plan) -> Table:
    table = _table("Parameters in scope", ("name", "shape", "weights"), left=1)
    for tensor in plan.tensors:
        shape = " × ".join(str(size) for size in tensor.shape)
        table.add_row(Text(tensor.name), shape, count(tensor.weights))
    return table


def _firing_table(plan: Plan) -> Table:
    lottery = plan.experiment == "lottery"
    shown = thin_out([tensor.name for tensor in plan.tensors], MOST_LAYERS)
    columns = ("level" if lottery else "step", "rule", "target", "asleep", *map(short, shown))
    table = _table("Firings (sleeping shares afterwards)", columns, left=0)
    table.columns[1].justify, table.columns[1].overflow = "left", "fold"
    for firing in thin_out(plan.firings, MOST_FIRINGS):
        time = firing.level if lottery else firing.step
        table.add_row(
            "?" if time is None else count(time),
            Text(firing.rule),
            DASH if firing.target is None else f"{firing.target:.4g}",
            DASH if firing.asleep is None else share(firing.asleep),
            *(_layer(firing, name) for name in shown),
        )
    return table


def _layer(firing: PlannedFiring, name: str) -> str:
    return DASH if firing.layers is None else share(firing.layers[name])


def plot_plan(plan: Plan, path: Path) -> Path:
    """Draw the schedule; needs matplotlib.

    Raises:
        SetupError: the path ends in neither .png nor .svg, matplotlib is missing, or nothing has
            a time.
    """
    if path.suffix not in (".png", ".svg"):
        raise SetupError(f"--plot {path}: the name must end in .png or .svg")
    lottery = plan.experiment == "lottery"
    actions = [
        PlannedAction(
            firing.level if lottery else firing.step or 0,
            firing.rule,
            firing.asleep,
            firing.layers or {},
        )
        for firing in plan.firings
        if firing.step is not None
    ]
    if not actions:
        raise SetupError("there is nothing to draw: no rule fires at a time that is known")
    chart = schedule_chart(actions)
    if path.suffix == ".svg":
        chart.save_svg(path)
    else:
        chart.save_png(path)
    return path
