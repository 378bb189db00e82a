"""Nodes in a report: lives, tables, charts and drawings, from lines written by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from sleepengine import AwakeNetwork, SleepEngine
from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.node_masks import NodeMasks
from sleepengine.nodes.slices import Slice
from sleepengine.pipeline.mask_files import load_masks
from sleepengine.report import draw_network
from sleepengine.report.columns import drawing_of
from sleepengine.report.matrices import matrices
from sleepengine.report.network_chart import network_charts
from sleepengine.report.node_charts import node_charts
from sleepengine.report.node_pictures import awake_grid, node_pictures, reset_grid
from sleepengine.report.node_story import stories
from sleepengine.report.node_tables import group_cells, node_cells
from sleepengine.report.page import render_page
from sleepengine.report.records import GroupsLine
from sleepengine.report.run_data import RunData
from sleepengine.report.terminal import node_table

GROUP = NodeGroup("fc1", 30, [Slice("fc1.weight")], [Slice("fc2.weight", 1)])
END = {"dormancy": [0.01] + [1.0] * 29, "churn": [0.0] * 15 + [1.0] * 15}


def lines(seed: int) -> list[dict]:
    """Nodes 0 and 1 sleep at step 200, 1 wakes at 400 in seed 0 alone; 5 begins again at 600."""
    where = {"arm": "train", "seed": seed, "level": 0}
    groups = {
        "groups": [asdict(GROUP)], "edges": ["fc1.weight", "fc2.weight"], "depthwise": []
    }  # fmt: skip
    found = [
        {"step": 0, **groups},
        {"step": 200, "group": "fc1", "awake": 28, "slept": [0, 1]},
        {"step": 400, "group": "fc1", "awake": 29, "woke": [1]},
        {"step": 600, "group": "fc1", "awake": 29 - seed, "reset": [5]},
        {"step": 800, "group": "fc1", "awake": 29 - seed, **END},
    ]
    return [{**where, **line} for line in found if seed == 0 or "woke" not in line]


def write_nodes(path, rows):
    (path / "nodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(make_train):
    path = make_train(seeds=(0, 1), masks=True)
    write_nodes(path, [*lines(0), *lines(1)])
    return RunData.load(path)


def test_lives_of_nodes(run):
    first, second = (groups["fc1"] for groups in stories(run).values())
    assert first.since[:3] == [200, None, None]
    assert second.since[:3] == [200, 200, None]
    assert (first.slept[:2], first.woken[:2], first.reset[5]) == ([1, 1], [0, 1], 1)
    assert (first.awake_now, second.awake_now) == (29, 28)
    assert first.dormant == 0  # node 0 is silent, but asleep
    assert [sorted(asleep) for asleep in map(set, first.asleep_at([199, 200, 400]))] == [
        [],
        [0, 1],
        [0],
    ]


def test_tables(run):
    assert group_cells(run) == (
        ("group", "nodes", "awake", "fell asleep", "woke", "began again", "dormant", "churn"),
        ("fc1", "30", "28.5", "2", "0.5", "1", "0", "50.0%"),
    )
    _, *rows = node_cells(run)
    assert rows[:4] == [
        ("fc1:0", "step 200", "1", "0", "0", "0.010", "0%"),
        ("fc1:1", "awake", "1", "1", "0", "1.000", "0%"),
        ("fc1:5", "awake", "0", "0", "1", "1.000", "0%"),
        ("fc1:2", "awake", "0", "0", "0", "1.000", "0%"),
    ]
    assert len(rows) == 30


def test_charts_and_pictures(run):
    awake, again = node_charts(run)
    assert awake.alt == "Awake nodes of each group over training steps. At the end: fc1 28.5."
    assert again.alt.endswith("At the end: fc1 1.0.")
    (picture,) = node_pictures(run)
    assert picture.title == "fc1, 30 nodes"
    assert picture.alt.endswith("29 of 30 nodes awake at the end, 1 times a node began again.")
    group = stories(run)[0]["fc1"]
    grid = awake_grid(group, end=800, bins=8)
    assert grid[:3].tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
    assert reset_grid(group, end=800, bins=8).nonzero().tolist() == [[5, 6], [5, 7]]


def test_the_page_has_sections_of_nodes(run):
    page = render_page(run)
    for words in ("Nodes</h2>", "The life of each node", "Node by node", "The awake network"):
        assert words in page
    bare = render_page(replace(run, groups=None, nodes=()))
    assert "Nodes</h2>" not in bare
    assert "Masks of every layer" not in bare


def test_matrices_of_every_layer(run):
    assert matrices(run) == ()  # nothing sleeps and nothing is frozen in these masks
    store = load_masks(run.masks[0].path)
    rows = torch.zeros(30, 784, dtype=torch.bool)
    rows[:15] = True
    columns = torch.zeros(10, 30, dtype=torch.bool)
    columns[:, 0] = True
    store.sleep(Choice({"fc1.weight": rows}))
    store.freeze(Choice({"fc2.weight": columns}))
    container.write(run.masks[0].path, store.state_dict(), kind="masks")
    first, second = matrices(run)
    assert first.title == "fc1.weight, 30 × 784: 50.0% awake"
    assert first.grid.shape == (30, 160)
    assert (first.grid.sum(1) == torch.tensor([0.0] * 15 + [160.0] * 15)).all()
    assert first.marked is None
    assert second.title == "fc2.weight, 10 × 30: 100% awake, 3.3% frozen"
    assert torch.equal(second.marked, columns.float())
    assert "Masks of every layer" in render_page(run)


def test_the_drawing_of_a_network(run):
    (chart,) = network_charts(run)
    assert chart.alt == (
        "The awake network, 3 columns. fc1.in 784 of 784 awake; fc1 30 of 30 awake; "
        "fc2 10 of 10 awake."
    )
    assert "at most 64 nodes" in chart.caption


def small(asleep: int | None = None):
    """Two inputs, a stream of two nodes, a block of two that reads it and writes to it."""
    shapes = {
        "first": torch.Size([2, 2]),
        "up": torch.Size([2, 2]),
        "down": torch.Size([2, 2]),
        "last": torch.Size([1, 2]),
    }
    stream = NodeGroup(
        "stream", 2, [Slice("first"), Slice("down")], [Slice("up", 1), Slice("last", 1)]
    )
    block = NodeGroup("block", 2, [Slice("up")], [Slice("down", 1)])
    store = MaskStore(shapes)
    if asleep is not None:
        nodes = NodeMasks([stream, block], shapes)
        chosen = torch.tensor([i == asleep for i in range(2)])
        nodes.sleep(Choice({"block": chosen}, Layer.NODES), store)
    return store, GroupsLine("train", 0, 0, 0, (stream, block), tuple(shapes), ())


def test_a_residual_sum_is_drawn_again():
    drawing = drawing_of(*small())
    found = [(block.vertices.layer, block.column) for block in drawing.blocks]
    assert found == [("first.in", 0), ("stream", 1), ("block", 2), ("stream", 3), ("last", 4)]
    assert len(drawing.lines) == 4 + 4 + 4 + 2
    assert {tuple(line) for line in drawing.lines[:, [0, 2]].tolist()} == {
        (0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)
    }  # fmt: skip


def test_sleeping_nodes_have_no_lines():
    drawing = drawing_of(*small(asleep=1))
    block = next(one for one in drawing.blocks if one.vertices.layer == "block")
    assert (block.awake, block.is_awake.tolist()) == (1, [True, False])
    assert len(drawing.lines) == 4 + 2 + 2 + 2
    low = block.height[1].item()
    assert not (drawing.lines[:, [0, 1]] == torch.tensor([2.0, low])).all(1).any()


def test_damaged_lines_of_nodes(make_train):
    path = make_train(seeds=(0,))
    write_nodes(path, [{**lines(0)[1], "awake": "many"}])
    with pytest.raises(FileError, match=r"nodes\.jsonl:1: .*awake"):
        RunData.load(path)
    line = lines(0)[0]
    line["groups"][0]["size"] = 0
    write_nodes(path, [line])
    with pytest.raises(FileError, match=r"nodes\.jsonl:1: .*at least one node"):
        RunData.load(path)


def test_the_network_of_an_engine_at_any_step():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    engine = SleepEngine(net, torch.optim.SGD(net.parameters(), 0.1), nodes=[], seed=0)
    network = AwakeNetwork(engine)
    with engine.attach():
        engine.sleep_weights("0", (0, 0))
        net(torch.ones(1, 2)).sum().backward()
        engine.live.optimizers[0].step()
        engine.sleep_weights("0", (1, 0))
    before, now = draw_network(network, 0), draw_network(network)
    assert (before.caption[:9], now.caption[:4]) == ("At step 0", "Now.")
    assert before.alt == now.alt  # no node sleeps
    lines = [len(plot.figure.axes[0].lines) for plot in (before, now)]
    assert lines == [2 + 3, 2 + 3]  # one path for each vertex that is read
    drawn = [
        sum(len(line.get_xdata()) // 3 for line in plot.figure.axes[0].lines)
        for plot in (before, now)
    ]
    assert drawn == [5 + 3, 4 + 3]


def test_nodes_in_the_terminal(run):
    (sheet,) = node_table(run).ways[0]
    assert sheet.title == "Nodes, means over the seeds"
    assert sheet.cells == group_cells(run)
    assert node_table(replace(run, groups=None, nodes=())) is None
