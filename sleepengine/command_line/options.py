"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Settings:
    """What holds for every command."""

    debug: bool = False


def _note_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).debug = True


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_note_debug,
    help="Show where an error comes from.",
)
data_option = click.option(
    "--data",
    "data_folder",
    type=click.Path(exists=True, file_okay=False),
    help="Folder with data sets that are read from files.",
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE",
    help="A module or .py file of yours with SCORERS, MODELS or DATA (repeatable).",
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting that wins over the file, as train.length=1ep (repeatable).",
)
seeds_option = click.option("--seeds", metavar="0,1,2", help="Seeds instead of the file's.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that train different seeds side by side (default: one per core for long "
    "runs, else 1; the results are the same).",
)
quiet_option = click.option("--quiet", is_flag=True, help="Only print the run folder.")
report_option = click.option(
    "--report/--no-report", default=True, help="Write RUN/report.html at the end (default: yes)."
)
runs_argument = click.Path(exists=True, file_okay=False)
