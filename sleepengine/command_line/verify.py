"""`sleepengine verify RUN`: what was checked of a run folder, and what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sleepengine.command_line.options import (
    data_option,
    debug_option,
    plugin_option,
    quiet_option,
    runs_argument,
)

SOUND, DAMAGED = 0, 1


@click.command()
@click.argument("run", type=runs_argument)
@data_option
@plugin_option
@quiet_option
@debug_option
def verify(run: str, data_folder: str | None, plugins: Sequence[str], quiet: bool) -> int:
    """Check the folder RUN: sums, versions, counts, masks against results, whether it can go on."""
    from sleepengine.pipeline.configuration.plugins import load_plugins
    from sleepengine.pipeline.verifying import verify as verifying

    checks = verifying(run, data_folder=data_folder, plugins=load_plugins(plugins))
    for check in checks:
        if not check.ok:
            click.echo(f"WRONG  {check.file}: {check.about}: {check.fault}")
        elif not quiet:
            click.echo(f"ok     {check.file}: {check.about}")
    wrong = sum(not check.ok for check in checks)
    click.echo(f"{len(checks)} checks, {wrong or 'nothing'} wrong")
    return DAMAGED if wrong else SOUND
