"""The awake network against masks read by hand: matrices, graphs, files, and masks back."""

from __future__ import annotations

import copy

import networkx as nx
import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine, UnknownNameError
from sleepengine.errors import FileError
from sleepengine.masks.positions import mask_from_adjacency
from sleepengine.structure import AwakeNetwork
from sleepengine.structure.graphs import from_networkx, read_graphml, to_networkx, write_graphml


class Small(nn.Module):
    """Two convolutions (one depthwise), a flattened map, attention-free; 3 x 4 x 4 inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 4, 3, padding=1)
        self.b1 = nn.BatchNorm2d(4)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.grouped = nn.Conv2d(4, 6, 1, groups=2)
        self.fc1 = nn.Linear(6 * 4, 5)
        self.fc2 = nn.Linear(5, 2)

    def forward(self, x):
        x = self.grouped(self.depth(self.b1(self.c1(x)).relu()).relu()).relu()
        return self.fc2(self.fc1(nn.functional.avg_pool2d(x, 2).flatten(1)).relu())


@pytest.fixture
def mlp():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    return SleepEngine(net, example_inputs=torch.zeros(1, 4))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return SleepEngine(Small(), example_inputs=torch.zeros(2, 3, 4, 4))


def put_some_to_sleep(engine):
    """Weights here and there, and one node of every group."""
    generator = torch.Generator().manual_seed(7)
    for name in engine.scope:
        shape = engine.store.shape(name)
        engine.sleep_weights(name, torch.rand(shape, generator=generator) < 0.4)
    for k, (name, group) in enumerate(engine.live.nodes.groups.items()):
        engine.sleep_nodes(name, k % group.size)


def masks(engine, names=None):
    names = engine.store.names() if names is None else names
    ones = {n: torch.ones(engine.store.shape(n), dtype=torch.bool) for n in names}
    return {n: one if (m := engine.store.awake(n)) is None else m for n, one in ones.items()}


def test_adjacency_of_a_linear_layer_is_its_mask(mlp):
    mlp.sleep_weights("2", [(0, 1), (4, 5)])
    mlp.sleep_nodes("0", 2)
    A = AwakeNetwork(mlp).adjacency("2")
    assert torch.equal(mask_from_adjacency(A, "out_in", (5, 6)), masks(mlp)["2.weight"])
    assert A.nnz == 30 - 2 - 5


def test_the_whole_network_is_made_of_its_layers(mlp):
    put_some_to_sleep(mlp)
    network = AwakeNetwork(mlp)
    layers = [(one.layer, one.first, one.size) for one in network.wiring.vertices]
    assert layers == [("0", 0, 6), ("2", 6, 5), ("0.in", 11, 4), ("4", 15, 3)]
    A = torch.from_numpy(network.adjacency().toarray())
    expected = torch.zeros(18, 18, dtype=torch.long)
    awake = {name: mask.long() for name, mask in masks(mlp).items()}
    expected[11:15, 0:6] = awake["0.weight"].T
    expected[0:6, 6:11] = awake["2.weight"].T
    expected[6:11, 15:18] = awake["4.weight"].T
    assert torch.equal(A, expected)
    assert A[2].sum() == A[:, 2].sum() + A[2].sum() - A[:, 2].sum()
    assert not A[0].any()  # node 0 of the first group sleeps
    assert not A[:, 0].any()


def test_channels_are_vertices_and_kernels_are_counted(small):
    small.sleep_weights("c1", (0, 1, 2, 2))
    network = AwakeNetwork(small)
    assert network.adjacency("c1").toarray().tolist() == [[9, 8, 9], *[[9] * 3] * 3]
    whole = network.adjacency().tocoo()
    names = network.wiring.names()
    found = {
        (names[u], names[v]): int(n) for u, v, n in zip(*whole.coords, whole.data, strict=True)
    }
    assert found["c1.in:1", "c1:0"] == 8
    assert found["c1:3", "c1:3"] == 9  # the depthwise convolution reads and makes the same nodes
    assert ("c1:3", "c1:2") not in found
    assert [v for u, v in found if u == "c1:1" and v.startswith("grouped")] == [
        "grouped:0",
        "grouped:1",
        "grouped:2",
    ]
    assert found["grouped:5", "fc1:0"] == 4  # a map of 2 x 2 places
    assert found["fc1:0", "fc2:1"] == 1


@pytest.mark.parametrize("which", ["mlp", "small"])
def test_masks_come_back_from_a_graph_and_from_a_file(which, request, tmp_path):
    engine = request.getfixturevalue(which)
    put_some_to_sleep(engine)
    network = AwakeNetwork(engine)
    graph = to_networkx(network)
    write_graphml(graph, tmp_path / "net.graphml")
    expected = masks(engine)
    for one in (graph, read_graphml(tmp_path / "net.graphml")):
        back = from_networkx(network, one)
        assert set(network.wiring.params) <= set(back)
        for name, mask in back.items():
            assert torch.equal(mask, expected[name]), name
    other = SleepEngine(copy.deepcopy(engine.model), nodes=[*engine.live.nodes.groups.values()])
    other.set_masks(back)
    for name, mask in masks(other).items():
        assert torch.equal(mask, expected[name]), name


def test_a_graph_is_one_of_networkx(mlp):
    put_some_to_sleep(mlp)
    network = AwakeNetwork(mlp)
    graph = to_networkx(network)
    assert isinstance(graph, nx.DiGraph)
    assert graph.nodes["0:0"] == {"layer": "0", "index": 0, "awake": False}
    assert graph.degree("0:0") == 0
    A = nx.to_scipy_sparse_array(graph, nodelist=network.wiring.names(), weight="awake")
    assert (network.adjacency() != A).nnz == 0
    assert nx.is_directed_acyclic_graph(graph)


def test_edges_that_a_user_takes_away_or_adds(mlp):
    mlp.sleep_weights("2", (1, 1))
    network = AwakeNetwork(mlp)
    graph = to_networkx(network)
    graph.remove_edge("0:3", "2:4")
    graph.add_edge("0:1", "2:1")
    back = from_networkx(network, graph)["2.weight"]
    assert (~back).nonzero().tolist() == [[4, 3]]
    graph.add_edge("0:1", "4:1")
    with pytest.raises(SetupError, match="no weight of the model leads from '0:1' to '4:1'"):
        from_networkx(network, graph)
    graph.add_node("5:1")
    with pytest.raises(SetupError, match="a vertex '5:1'"):
        from_networkx(network, graph)


def test_earlier_steps(mlp):
    optimizer = torch.optim.SGD(mlp.model.parameters(), 0.1)
    engine = SleepEngine(mlp.model, optimizer, nodes=[*mlp.live.nodes.groups.values()])
    network = AwakeNetwork(engine)
    with engine.attach():
        for step in range(6):
            if step in (1, 3, 5):
                engine.sleep_nodes("0", step)
            if step == 4:
                engine.wake_nodes("0", 1)
            optimizer.zero_grad()
            engine.model(torch.randn(2, 4)).sum().backward()
            optimizer.step()
    # what is asked between steps 2 and 3 happens at step 2
    awake = {s: network.awake_counts(s)["0"] for s in (0, 1, 2, 3, 4, 5)}
    assert awake == {0: (6, 6), 1: (5, 6), 2: (5, 6), 3: (4, 6), 4: (5, 6), 5: (4, 6)}
    assert network.adjacency("0", 1).nnz == 5 * 4
    assert [n for n, d in to_networkx(network, 3).nodes(data=True) if not d["awake"]] == [
        "0:1",
        "0:3",
    ]
    story = network.lives("0")
    assert story.asleep_since.tolist() == [-1, -1, -1, 3, -1, 5]
    assert story.times_slept.tolist() == [0, 1, 0, 1, 0, 1]
    assert story.times_woken.tolist() == [0, 1, 0, 0, 0, 0]
    assert repr(story) == "Lives(0: 2/6 asleep, slept 3, woken 1 times)"
    assert network.churn("0", 1, 5).tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    with pytest.raises(SetupError, match="a step is an int"):
        network.adjacency("0", 1.5)


def test_nothing_happened_yet(mlp):
    network = AwakeNetwork(mlp)
    assert not network.lives("0").times_slept.any()
    assert network.awake_counts() == {"0": (6, 6), "2": (5, 5)}
    with pytest.raises(SetupError, match="has not begun"):
        network.adjacency(step=0)


def test_wrong_names_and_files(mlp, tmp_path):
    network = AwakeNetwork(mlp)
    with pytest.raises(UnknownNameError, match=r"'0\.bias' has no weights that are edges"):
        network.adjacency("0.bias")
    (tmp_path / "x").write_text("not xml")
    with pytest.raises(FileError, match="no GraphML"):
        read_graphml(tmp_path / "x")
    graph = to_networkx(network)
    graph.edges["0:0", "2:0"]["bits"] = "2.weight=zz"
    with pytest.raises(SetupError, match="bits that cannot be read"):
        from_networkx(network, graph)


def test_recurrent_units_and_heads_have_vertices():
    lstm = nn.LSTM(3, 4)
    engine = SleepEngine(lstm, example_inputs=torch.zeros(2, 1, 3))
    assert not engine.live.nodes.groups  # its units are the output of the model
    attention = nn.MultiheadAttention(4, 2)

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.attention, self.last = nn.Linear(3, 4), attention, nn.Linear(4, 2)

        def forward(self, x):
            y = self.first(x)
            return self.last(self.attention(y, y, y)[0])

    engine = SleepEngine(Attend(), example_inputs=torch.zeros(2, 1, 3))
    engine.sleep_nodes("attention", 1)
    network = AwakeNetwork(engine)
    graph = to_networkx(network)
    # q, k and v: 2 rows each of head 0 read every channel
    assert graph.edges["first:0", "attention:0"]["awake"] == 6
    assert graph.degree("attention:1") == 0
    for name, mask in from_networkx(network, graph).items():
        assert torch.equal(mask, masks(engine)[name]), name
