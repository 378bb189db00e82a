"""Configurations of nodes at work, in short: which nodes sleep at the end, and that runs train."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepengine.errors import ConfigError, SetupError
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.problems.transformer import tiny_transformer
from sleepengine.pipeline.running import run
from sleepengine.pipeline.training.network import make
from sleepengine.report.run_data import RunData

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = ["seeds=[0]", "train.length=3ep"]
FEW = "model.mlp.sizes=[12, 8]"


def finished(name, folder, *overrides):
    """The journal and the last asleep shares of a short run of a configuration."""
    run(load(CONFIGS / f"{name}.yaml", overrides=[*SHORT, *overrides]), out=folder, progress=False)
    data = RunData.load(folder)
    assert data.finished
    return data


def asleep(name, *overrides):
    """Sleeping nodes of every group once all rules have fired on the first weights."""
    config = load(CONFIGS / f"{name}.yaml", overrides=[*SHORT, *overrides])
    network = make(Parts.of(config, None, Given()), 0)
    engine = network.engine
    engine.time.steps_per_epoch, engine.time.total_steps = 34, 102
    engine.time.iteration = 82
    engine.fire(*engine.rules)
    return {group: int(engine.is_sleeping_node(group).sum()) for group in engine.live.nodes.groups}


def test_neuron_gradual(tmp_path):
    assert asleep("neuron_gradual", FEW) == {"fc1": 9, "fc2": 6}
    data = finished("neuron_gradual", tmp_path / "run", FEW)
    # 3 of 12 rows of fc1, 2 of 8 rows and 3 of 12 columns of fc2, 2 of 8 columns of fc3 are awake
    assert data.curves[-1].layers == pytest.approx(
        {"fc1.weight": 3 / 12, "fc2.weight": 6 / 96, "fc3.weight": 2 / 8}
    )


def test_channel_gradual(tmp_path):
    counts = asleep("channel_gradual")
    assert counts["conv1"] + counts["conv2"] == 24
    assert counts["fc1"] == 0
    shares = [line.fraction for line in finished("channel_gradual", tmp_path / "run").journal]
    assert shares == sorted(shares)
    assert 0.4 < shares[-1] < 0.8


def test_head_sleep(tmp_path):
    counts = asleep("head_sleep")
    heads = [counts[f"blocks.{i}.attention"] for i in (0, 1)]
    assert sum(heads) == 4
    assert max(heads) < 4
    assert sum(counts.values()) == 4
    finished("head_sleep", tmp_path / "run")


def test_redo(tmp_path):
    data = finished("redo", tmp_path / "run", FEW, "rules.0.who.amount.below=0.5")
    assert {line.action for line in data.journal} == {"Reset"}
    assert sum(line.changed for line in data.journal) > 0


def test_continual_backprop(tmp_path):
    overrides = [FEW, "rules.0.who.amount.rate=0.01", "rules.0.who.where.older_than=20it"]
    data = finished("continual_backprop", tmp_path / "run", *overrides)
    # nothing is due before step 20; then 0.2 of a node of 20 a step in all
    changed = [line.step for line in data.journal if line.changed]
    assert changed
    assert min(changed) >= 20


def test_packnet(tmp_path):
    data = finished("packnet", tmp_path / "run", FEW)
    assert [line.action for line in data.journal] == ["Sleep", "Freeze", "Wake"] * 2
    assert data.journal[-1].fraction == 0.0


def test_grow(tmp_path):
    data = finished(
        "grow", tmp_path / "run", FEW, "train.length=20ep", "train.optimizer.SGD.lr=1e-9"
    )
    assert [line.action for line in data.journal[:2]] == ["Sleep", "Wake"]
    shares = [line.fraction for line in data.journal]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]


def test_groups_are_found_when_asked_for():
    text = "model: {mlp: {sizes: [4]}}\ntrain: {length: 1ep}\n"
    for words, found in (("", []), ("engine: {nodes: true}\n", ["fc1"])):
        network = make(Parts.of(load(text + words), None, Given()), 0)
        assert list(network.engine.live.nodes.groups) == found


def test_nodes_switched_off_are_missed():
    config = load(CONFIGS / "neuron_gradual.yaml", overrides=["engine={nodes: false}"])
    with pytest.raises(ConfigError, match=r"neuron_gradual.yaml:\d+:5: .*finds no node group"):
        make(Parts.of(config, None, Given()), 0)


def test_group_names_are_patterns_in_a_file():
    config = load(CONFIGS / "head_sleep.yaml")
    assert build.rules(config)[0].who.patterns == ("*attention",)
    with pytest.raises(ValueError, match="unknown argument 'groups' of Nodes"):
        load(CONFIGS / "neuron_gradual.yaml", overrides=["rules.0.who.units.Nodes.groups=[fc1]"])


def test_a_transformer_of_another_shape():
    with pytest.raises(SetupError, match="3 heads do not divide a width of 32"):
        tiny_transformer((1, 8, 8), 10, heads=3)
    with pytest.raises(SetupError, match=r"channels, height, width.*\(4,\)"):
        tiny_transformer((4,), 10)
    with pytest.raises(SetupError, match="depth=0"):
        tiny_transformer((1, 8, 8), 10, depth=0)
