"""What the commands print: tables of results and of plans."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.text import Text

from sleepengine.errors import SetupError
from sleepengine.pipeline.outcome import RunResult
from sleepengine.pipeline.plan import Plan
from sleepengine.report.headline import headline
from sleepengine.report.next_steps import next_steps
from sleepengine.report.page import write_report
from sleepengine.report.plan_tables import event_table, plan_words, tensor_table
from sleepengine.report.run_data import RunData
from sleepengine.report.schedule_chart import PlannedAction, schedule_chart
from sleepengine.report.terminal import compare_table, node_table, show_table

PIPED_WIDTH = 100


def _console(*, error: bool = False) -> Console:
    # Made when used: the streams may have been exchanged since the module was loaded.
    stream = sys.stderr if error else sys.stdout
    known = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, highlight=False, width=None if known else PIPED_WIDTH)


def _print(*parts: RenderableType) -> None:
    console = _console()
    for part in parts:
        console.print(part)


def _say(words: str) -> None:
    """One line as it is, never wrapped: paths are to be copied."""
    _console().print(Text(words), soft_wrap=True)


def finish(result: RunResult, *, quiet: bool, report: bool, config: Path | None = None) -> None:
    """The results, what they say, where all lies, and what to try next with the file `config`."""
    page = _page(result.folder) if report else None
    if quiet:
        _say(str(result.folder))
        return
    show_run(result.folder)
    _say("")
    if page is not None:
        _say(f"report: {page}")
    _say(f"run folder: {result.folder}")
    for words, command in next_steps(RunData.load(result.folder), config):
        _say(f"{words}: {command}")


def _page(folder: Path) -> Path | None:
    """The page, or a note on why there is none: the run itself went well."""
    try:
        return write_report(folder)
    except SetupError as fault:
        _console(error=True).print(Text(f"no report page: {fault}"), soft_wrap=True)
        return None


def show_run(folder: Path) -> None:
    """The results table of a run, that of its nodes, and what it says in words."""
    run = RunData.load(folder)
    nodes = node_table(run)
    tables = [show_table(run)] if nodes is None else [show_table(run), Text(), nodes]
    _print(*tables, Text(), *(Text(sentence) for sentence in headline(run)))


def show_comparison(folders: Sequence[Path]) -> None:
    """Several runs side by side."""
    _console().print(compare_table([RunData.load(folder) for folder in folders]))


def show_plan(plan: Plan) -> None:
    """Parameters, then events."""
    for line in plan_words(plan):
        _print(Text(line))
    _print(Text(), tensor_table(plan), Text())
    if plan.firings:
        _print(event_table(plan))
    elif plan.experiment == "train":
        _print(Text("No rules: nothing will sleep."))


def plot_plan(plan: Plan, path: Path) -> Path:
    """Draw the schedule; needs matplotlib.

    Raises:
        SetupError: the path ends in neither .png nor .svg, matplotlib is missing, or nothing has
            a time.
    """
    if path.suffix not in (".png", ".svg"):
        raise SetupError(f"--plot {path}: the name must end in .png or .svg")
    actions = planned_actions(plan)
    if not actions:
        raise SetupError("there is nothing to draw: no rule fires at a time that is known")
    lottery = plan.experiment == "lottery"
    end = actions[-1].step if lottery else plan.total_steps
    chart = schedule_chart(actions, end, "level" if lottery else "training step")
    if path.suffix == ".svg":
        chart.save_svg(path)
    else:
        chart.save_png(path)
    return path


def planned_actions(plan: Plan) -> list[PlannedAction]:
    """The firings whose time is known."""
    lottery = plan.experiment == "lottery"
    return [
        PlannedAction(
            firing.level if lottery else firing.step,
            firing.rule,
            firing.asleep,
            firing.layers or {},
        )
        for firing in plan.firings
        if firing.step is not None
    ]
