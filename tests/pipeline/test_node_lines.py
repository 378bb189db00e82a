"""What a run writes about nodes: groups, who slept and began again, and numbers at the end."""

from __future__ import annotations

import signal

import pytest
from torch.nn import functional

from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.run_folder import Lines, RunFolder
from sleepengine.pipeline.running import run
from sleepengine.report.node_story import stories
from sleepengine.report.run_data import RunData

CONFIG = """
data: digits
model: {mlp: {sizes: [12, 8]}}
train: {length: 1ep, batch_size: 128, optimizer: {SGD: {lr: 0.1}}}
rules:
  - when: {at: [2it, 4it]}
    who: {scorer: Magnitude, units: Nodes, pools: PerTensor, amount: {by: 0.25}}
    what: Sleep
  - when: {once: 6it}
    who: {scorer: Random, units: Nodes, pools: PerTensor, amount: {count: 1}}
    what: %s
"""


@pytest.fixture
def folder(tmp_path):
    return run(load(CONFIG % "Wake"), out=tmp_path / "run", progress=False).folder


def test_lines_follow_the_nodes(folder):
    rows = RunFolder.open(folder).rows(Lines.NODES)
    assert [row["step"] for row in rows] == [0, 2, 2, 4, 4, 6, 6, 9, 9]
    assert [one["name"] for one in rows[0]["groups"]] == ["fc1", "fc2"]
    assert rows[0]["edges"] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    first = [row for row in rows if row.get("group") == "fc1"]
    assert [row["awake"] for row in first] == [9, 7, 8, 8]
    assert [len(row.get("slept", ())) for row in first] == [3, 2, 0, 0]
    assert len(first[2]["woke"]) == 1
    assert len(first[3]["dormancy"]) == len(first[3]["churn"]) == 12


def test_the_report_reads_what_the_run_wrote(folder):
    (groups,) = stories(RunData.load(folder)).values()
    assert {name: one.awake_now for name, one in groups.items()} == {"fc1": 8, "fc2": 5}
    asleep = [i for i, since in enumerate(groups["fc1"].since) if since is not None]
    assert len(asleep) == 4
    for i in asleep:
        assert groups["fc1"].dormancy[i] == 0.0  # ReLU(0), and nothing comes in
        assert groups["fc1"].churn[i] == 1.0


def test_nodes_that_begin_again(tmp_path):
    folder = run(load(CONFIG % "Reset"), out=tmp_path / "run", progress=False).folder
    rows = [row for row in RunFolder.open(folder).rows(Lines.NODES) if "reset" in row]
    assert [(row["step"], row["group"], len(row["reset"])) for row in rows] == [
        (6, "fc1", 1),
        (6, "fc2", 1),
    ]


def test_runs_over_weights_write_none(tmp_path):
    text = CONFIG.replace("units: Nodes, ", "") % "Wake"
    folder = run(load(text), out=tmp_path / "run", progress=False).folder
    assert RunFolder.open(folder).rows(Lines.NODES) == []
    assert RunData.load(folder).groups is None


@pytest.mark.parametrize("step", [1, 4, 6, 9])
def test_an_interrupted_run_writes_the_same_lines(folder, tmp_path, step):
    left = [step]

    def loss(output, target):
        if output.requires_grad:
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(signal.SIGINT)
        return functional.cross_entropy(output, target)

    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(load(CONFIG % "Wake"), out=cut, loss_fn=loss, progress=False)
    resume(cut, loss_fn=functional.cross_entropy, progress=False)
    assert (cut / "nodes.jsonl").read_bytes() == (folder / "nodes.jsonl").read_bytes()


def test_worker_processes_write_the_same_lines(folder, tmp_path):
    two = (CONFIG % "Wake") + "seeds: [0, 1]\n"
    apart = run(load(two), out=tmp_path / "two", options=Options(False, workers=2)).folder
    lines = (apart / "nodes.jsonl").read_bytes().splitlines()
    assert lines[: len(lines) // 2] == (folder / "nodes.jsonl").read_bytes().splitlines()
    assert len(stories(RunData.load(apart))) == 2
