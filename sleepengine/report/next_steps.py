"""What to try after a run: commands that can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

from sleepengine.report.run_data import RunData

Step = tuple[str, str]

# A lottery is best held against one that rewinds later, a training against weights picked at
# random; both are files beside the one that was run.
_RIVALS = {
    "lottery": ("lottery_ticket_late_rewind", "next, weights that go back to an early step"),
    "train": ("random_pruning", "next, the control that a scorer has to beat"),
}


def next_steps(run: RunData, config: Path | None) -> tuple[Step, ...]:
    """(words, command) for one or two things to do; `config` is the file that was run, if known."""
    first = None if config is None else _first(run, config)
    side_by_side = f"{_command('compare', str(run.path))} OTHER_RUN"
    if first is None:
        return (("side by side with another run", side_by_side),)
    return (first, ("then side by side", side_by_side))


def _first(run: RunData, config: Path) -> Step | None:
    if len(run.meta.seeds) == 1:
        return "for intervals, more seeds", _command("run", str(config), "--seeds", "0,1,2")
    found = _RIVALS.get(run.meta.experiment)
    if found is None:
        return None
    name, words = found
    path = config.with_name(f"{name}.yaml")
    if path.stem == config.stem or not path.is_file():
        return None
    same_data = f"\ndata: {run.meta.data.name}\n" in path.read_text(encoding="utf-8")
    return (words, _command("run", str(path))) if same_data else None


def _command(*words: str) -> str:
    return shlex.join(["sleepengine", *words])
