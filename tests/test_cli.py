"""The command line: what it prints, what it exits with."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from sleepengine.command_line.cli import main

from .command_lines import CONFIG, ROOT, fresh

LOTTERY = """
name: tickets
experiment: lottery
model: {mlp: {sizes: [6]}}
train: {length: 10it, batch_size: 32, evaluate: 10it}
lottery:
  levels: 2
  each_level:
    - {who: {scorer: Magnitude, amount: {by: 0.5}}, what: Sleep}
    - what: Rewind
  arms: [ticket, random_mask]
"""


def test_help_does_not_wait_for_torch() -> None:
    done = fresh(
        code="import sys; from sleepengine.command_line import cli; cli.main(['-h']); "
        "print('torch' in sys.modules)"
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    for command in ("run", "plan", "resume", "show", "report", "compare", "schema"):
        assert f"\n  {command} " in done.stdout


def test_run_show_compare_report(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["run", str(config), "--out", str(out), "--seeds", "0,1"]) == 0
    printed = capsys.readouterr().out
    assert "tiny (finished)" in printed
    assert "40.1%" in printed  # 266 of 444 weights sleep
    last = printed.splitlines()[-4:]
    assert last[1:] == [
        f"report: {out}/report.html",
        f"run folder: {out}",
        f"side by side with another run: sleepengine compare {out} OTHER_RUN",
    ]
    assert "over 2 seeds" in " ".join(printed.split())
    assert (out / "report.html").is_file()
    assert main(["show", str(out)]) == 0
    assert capsys.readouterr().out in printed
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 1000
    again = shutil.copytree(out, tmp_path / "again")
    assert main(["compare", str(out), str(again), "--out", str(tmp_path / "two.html")]) == 0
    assert "2 runs" in capsys.readouterr().out
    assert main(["compare", str(out), str(out)]) == 2
    assert "is given twice" in capsys.readouterr().err


def test_a_short_run_takes_one_process_and_any_number_gives_the_same(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleepengine.pipeline import running

    asked = []
    monkeypatch.setattr(
        running, "worth", lambda seeds, steps, cores: asked.append((seeds, steps)) or 1
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = ["run", str(config), "--seeds", "0,1", "--quiet", "--no-report", "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert asked == [(2, 80)]  # two networks of 40 steps
    assert main([*command, str(tmp_path / "two"), "--workers", "2"]) == 0
    assert len(asked) == 1
    for name in ("curves.jsonl", "journal.jsonl"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_quiet_prints_the_folder_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", str(config), "--out", str(tmp_path / "r"), "--quiet", "--no-report"]
    assert main([*command, "--set", "train.length=35it", "--set", "train.batch_size=16"]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'r'}\n", "")
    line = json.loads((tmp_path / "r" / "results.jsonl").read_text())
    assert line["steps"] == 35
    assert not (tmp_path / "r" / "report.html").exists()


def test_the_default_folder_is_under_runs(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(config), "--quiet", "--no-report"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("tiny-20")


def test_plan_of_a_training(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(config)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if "Sleep-Magnitude" in line]
    # 384 and 60 weights, a pool each: to(0.3) is 115 and 18, to(0.6) is 230 and 36.
    assert rows == [
        ["10", "Sleep-Magnitude", "to(0)", "0%", "0%", "0%"],
        ["20", "Sleep-Magnitude", "to(0.3)", "30.0%", "29.9%", "30.0%"],
        ["30", "Sleep-Magnitude", "to(0.6)", "59.9%", "59.9%", "60.0%"],
    ]
    assert ["all", "444", "266", "59.9%"] in [line.split() for line in printed.splitlines()]
    assert "444 may sleep" in printed
    assert "depends on the scores" not in printed


def test_plan_of_a_lottery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tickets.yaml"
    path.write_text(LOTTERY)
    plot = tmp_path / "plan.svg"
    assert main(["plan", str(path), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert [row[:2] for row in rows if row[1:2] == ["Sleep-Magnitude"]] == [
        ["1", "Sleep-Magnitude"],
        ["2", "Sleep-Magnitude"],
    ]
    assert [row[1] for row in rows if row[:1] == ["Rewind"]] == ["50.0%", "75.0%"]
    assert "5 networks of 10 steps" in printed
    assert "depends on the scores" in printed
    assert plot.read_text().startswith("<?xml")


@pytest.mark.parametrize("width", [80, 100])
def test_every_printed_line_fits_the_terminal(
    width: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path = tmp_path / "tickets.yaml"
    arms = "arms: [ticket, random_reinit, random_mask, dense]"
    path.write_text(LOTTERY.replace("arms: [ticket, random_mask]", arms))
    assert main(["run", str(path), "--out", str(tmp_path / "r"), "--no-report", "--quiet"]) == 0
    assert main(["plan", str(path)]) == 0
    assert main(["show", str(tmp_path / "r")]) == 0
    again = shutil.copytree(tmp_path / "r", tmp_path / "again")
    assert main(["compare", str(tmp_path / "r"), str(again)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


PLUGIN = """
import torch
from saliency import Scorer
class Backwards(Scorer):
    needs = frozenset({"weights"})
    def score(self, signals):
        return {name: -w.abs() for name, w in signals.weights.items()}
SCORERS = {"Backwards": Backwards}
"""


def test_a_plug_in_brings_its_own_names(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(CONFIG.replace("Magnitude", "Backwards"))
    (tmp_path / "mine.py").write_text(PLUGIN)
    command = ["run", str(config), "--quiet", "--no-report", "--out", str(tmp_path / "r")]
    assert main(command) == 2
    assert "Backwards" in capsys.readouterr().err
    assert main([*command, "--plugin", str(tmp_path / "mine.py")]) == 0
    assert '"Sleep-Backwards"' in (tmp_path / "r" / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "nowhere.yaml"], "does not exist"),
        (["runn"], "No such command 'runn'"),
        (["show", "TMP"], "not a run folder|missing"),
        (["resume", "TMP"], "is not a run folder"),
        (["run", "CONFIG", "--set", "train.lenght=3it"], "train.*lenght.*Did you mean 'length'"),
        (["run", "CONFIG", "--set", "train.length=3it"], "never fires in 3 steps"),
        (["run", "CONFIG", "--plugin", "nowhere.py"], "cannot be imported.*no file nowhere.py"),
        (["run", "CONFIG", "--plugin", "json"], "'json' defines none of SCORERS, MODELS, DATA"),
        (["run", "CONFIG", "--out", "TMP"], "is not an empty folder"),
        (["run", "CONFIG", "--set", "data=mnist"], "--data"),
        (["plan", "CONFIG", "--plot", "plan.doc"], r"must end in .png or .svg"),
    ],
)
def test_usage_errors_are_one_message_and_code_2(
    arguments: list[str],
    words: str,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"CONFIG": str(config), "TMP": str(tmp_path)}
    assert main([places.get(one, one) for one in arguments]) == 2
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert re.search(words, " ".join(told.err.split())), told.err


def test_debug_shows_where(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(config), "--set", "train.lenght=3it", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_run_that_breaks_down_exits_with_1(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(CONFIG[: CONFIG.index("rules")])
    command = ["run", str(config), "--out", str(tmp_path / "r")]
    assert main([*command, "--set", "train.optimizer={SGD: {lr: 1e38}}"]) == 1
    assert "error: train seed 0: the training loss" in capsys.readouterr().err
