"""The command line: run, plan, resume, show, report, compare, verify, schema, doctor.

Exit codes: 0 done, 1 the run failed, 2 wrong usage or configuration, 130 Ctrl-C. Everything heavy
is imported inside the command that needs it, so that help comes at once.
"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from sleepengine.command_line.doctor import doctor
from sleepengine.command_line.options import (
    Settings,
    data_option,
    debug_option,
    plugin_option,
    quiet_option,
    report_option,
    runs_argument,
    seeds_option,
    set_option,
    workers_option,
)
from sleepengine.command_line.verify import verify
from sleepengine.errors import (
    ConfigError,
    FileError,
    ScheduleError,
    SetupError,
    SleepError,
    StateError,
)

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sleepengine")
@debug_option
def cli() -> None:
    """Weights sleep, wake, freeze and reset while a network trains."""


@cli.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", type=click.Path(), help="Run folder (default: runs/NAME-DATE-TIME).")
@data_option
@set_option
@seeds_option
@plugin_option
@workers_option
@quiet_option
@report_option
@debug_option
def run(
    config: str,
    out: str | None,
    data_folder: str | None,
    overrides: Sequence[str],
    seeds: str | None,
    plugins: Sequence[str],
    workers: int | None,
    quiet: bool,
    report: bool,
) -> None:
    """Train what CONFIG says, print the results, write a run folder."""
    from sleepengine.command_line import console
    from sleepengine.pipeline.configuration.config import load
    from sleepengine.pipeline.configuration.plugins import load_plugins
    from sleepengine.pipeline.experiments.runner import Options
    from sleepengine.pipeline.running import default_folder
    from sleepengine.pipeline.running import run as running

    settings = [*overrides, *([] if seeds is None else [f"seeds=[{seeds}]"])]
    own = load_plugins(plugins)
    loaded = load(config, plugins=own, overrides=settings)
    folder = default_folder(loaded.name) if out is None else Path(out)
    with _resumable(folder):
        result = running(
            loaded,
            out=folder,
            data_folder=data_folder,
            plugins=own,
            options=Options(progress=not quiet, workers=workers),
            plugin_names=plugins,
        )
    console.finish(result, quiet=quiet, report=report, config=Path(config))


@cli.command()
@click.argument("run", type=runs_argument)
@data_option
@plugin_option
@quiet_option
@report_option
@debug_option
def resume(
    run: str, data_folder: str | None, plugins: Sequence[str], quiet: bool, report: bool
) -> None:
    """Go on with the interrupted run in the folder RUN, to the same end bit for bit."""
    from sleepengine.command_line import console
    from sleepengine.pipeline.configuration.plugins import load_plugins
    from sleepengine.pipeline.resuming import resume as resuming

    own = load_plugins(plugins)
    with _resumable(Path(run)):
        result = resuming(
            run,
            data_folder=data_folder,
            plugins=own,
            progress=not quiet,
            plugin_names=plugins,
        )
    console.finish(result, quiet=quiet, report=report)


@cli.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False))
@data_option
@set_option
@plugin_option
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the schedule (.png or .svg).")
@debug_option
def plan(
    config: str,
    data_folder: str | None,
    overrides: Sequence[str],
    plugins: Sequence[str],
    plot: str | None,
) -> None:
    """Show what CONFIG will do, without training: parameters, and every firing of every rule."""
    from sleepengine.command_line import console
    from sleepengine.pipeline.configuration.plugins import load_plugins
    from sleepengine.pipeline.plan import plan as planning

    own = load_plugins(plugins)
    made = planning(config, data_folder=data_folder, plugins=own, overrides=overrides)
    console.show_plan(made)
    if plot is not None:
        click.echo(console.plot_plan(made, Path(plot)))


@cli.command()
@click.argument("run", type=runs_argument)
@debug_option
def show(run: str) -> None:
    """Print the results in the folder RUN, finished or not."""
    from sleepengine.command_line import console

    console.show_run(Path(run))


@cli.command()
@click.argument("run", type=runs_argument)
@click.option("--out", type=click.Path(), help="Where the page goes (default: RUN/report.html).")
@debug_option
def report(run: str, out: str | None) -> None:
    """Write a page with tables, charts and masks for the folder RUN."""
    from sleepengine.report import write_report

    click.echo(write_report(run, out))


@cli.command()
@click.argument("runs", type=runs_argument, nargs=-1, required=True)
@click.option("--out", type=click.Path(), help="Write a page too.")
@debug_option
def compare(runs: Sequence[str], out: str | None) -> None:
    """Print several RUNS side by side."""
    from sleepengine.command_line import console
    from sleepengine.report import write_compare

    console.show_comparison([Path(one) for one in runs])
    if out is not None:
        click.echo(write_compare(runs, out))


@cli.command()
@plugin_option
@debug_option
def schema(plugins: Sequence[str]) -> None:
    """Print the JSON schema of configurations, for editors."""
    import json

    from sleepengine.pipeline.configuration.plugins import load_plugins
    from sleepengine.pipeline.configuration.schema import json_schema

    click.echo(json.dumps(json_schema(load_plugins(plugins)), indent=2))


cli.add_command(verify)
cli.add_command(doctor)


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """After Ctrl-C say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / "checkpoint.run").is_file():
            words = (
                f"interrupted and saved; to go on: sleepengine resume {shlex.quote(str(folder))}"
            )
        else:
            words = "interrupted before anything was saved"
        click.echo(words, err=True)
        click.get_current_context().exit(INTERRUPTED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line; the exit code."""
    settings = Settings()
    try:
        found = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="sleepengine",
            standalone_mode=False,
            obj=settings,
        )
    except click.ClickException as fault:
        fault.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as fault:
        return _failed(fault, settings)
    return found if isinstance(found, int) else OK


def _failed(fault: Exception, settings: Settings) -> int:
    """One message, and a traceback only when asked for."""
    if settings.debug:
        traceback.print_exception(fault, file=sys.stderr)
    elif isinstance(fault, SleepError):
        click.echo(f"error: {fault}", err=True)
    else:
        click.echo(f"error: {type(fault).__name__}: {fault} (--debug shows where)", err=True)
    usage = isinstance(fault, ConfigError | SetupError | ScheduleError | FileError | StateError)
    return USAGE if usage else FAILED
