"""Ctrl-C on the command line: while it starts, and in the middle of a run."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from sleepengine.command_line.cli import main

from .command_lines import fresh

BREAKS = """
import signal, sleepengine.pipeline.training.train as train
from sleepengine.command_line.cli import main
step, count = train.Training._step, [0]
def pressed(self, *rest):
    count[0] += 1
    if count[0] == 25:
        signal.raise_signal(signal.SIGINT)
    return step(self, *rest)
train.Training._step = pressed
raise SystemExit(main(["run", CONFIG, "--out", OUT, "--quiet"]))
"""


def test_ctrl_c_says_how_to_go_on(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    done = fresh(code=BREAKS.replace("CONFIG", repr(str(config))).replace("OUT", repr(str(out))))
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == f"interrupted and saved; to go on: sleepengine resume {out}\n"
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert main(["resume", str(out), "--quiet"]) == 0
    assert main(["run", str(config), "--quiet", "--out", str(tmp_path / "whole")]) == 0
    for name in ("curves.jsonl", "journal.jsonl"):
        assert (out / name).read_text() == (tmp_path / "whole" / name).read_text()


PRESSED_WHILE_LOADING = """
import signal, sys
from sleepengine.command_line.entry import entry
class Finder:
    def find_spec(self, name, *rest):
        if name == "LIBRARY":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ["sleepengine", "plan", CONFIG]
entry()
"""


@pytest.mark.parametrize("library", ["click", "torch", "yaml"])
def test_ctrl_c_while_it_starts_is_no_traceback(library: str, config: Path) -> None:
    code = PRESSED_WHILE_LOADING.replace("LIBRARY", library).replace("CONFIG", repr(str(config)))
    done = fresh(code=code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it(config: Path) -> None:
    code = PRESSED_WHILE_LOADING.replace("LIBRARY", "click").replace("CONFIG", repr(str(config)))
    done = fresh(code="import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + code)
    assert (done.returncode, done.stderr) == (0, "")
