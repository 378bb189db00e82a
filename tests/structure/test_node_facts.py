"""Facts of nodes against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine, UnknownNameError
from sleepengine.structure import AwakeNetwork
from sleepengine.structure.node_facts import node_facts


@pytest.fixture
def network():
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]))
    return AwakeNetwork(SleepEngine(net, example_inputs=torch.zeros(1, 2)))


def test_dormancy_is_what_the_readers_receive(network):
    x = torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    # after ReLU the means are 2, 1 and 0; their mean is 1
    assert network.dormancy("0", [x]).tolist() == [2.0, 1.0, 0.0]
    split = network.dormancy("0", [(x[:1], torch.zeros(1)), (x[1:], torch.zeros(1))])
    assert split.tolist() == [2.0, 1.0, 0.0]
    assert network.dormancy("0", [-x]).tolist() == [0.0, 0.0, 3.0]
    assert network.dormancy("0", [0.0 * x]).tolist() == [0.0, 0.0, 0.0]


def test_dormancy_leaves_no_trace(network):
    model = network.engine.model.train()
    network.dormancy("0", [torch.ones(2, 2)])
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dormancy_while_compact(network):
    engine, x = network.engine, torch.tensor([[1.0, 1.0], [3.0, 0.0]])
    engine.sleep_nodes("0", 2)
    engine.compact(example_inputs=x)
    assert network.dormancy("0", [x]).tolist() == [2.0, 1.0, 0.0]
    assert engine.model[0].weight.shape == (2, 2)


def test_facts_of_every_node(network):
    engine = network.engine
    assert [one.awake for one in node_facts(network, "0")] == [True] * 3
    engine.sleep_nodes("0", [0, 2])
    engine.wake_nodes("0", 2)
    engine.sleep_weights("2", (0, 1))
    facts = node_facts(network, "0.weight")
    assert [one.asleep_since for one in facts] == [0, None, None]
    assert [(one.times_slept, one.times_woken) for one in facts] == [(1, 0), (0, 0), (1, 1)]
    # two weights come in and two go out; one of node 1 sleeps by itself
    assert [one.churn for one in facts] == [1.0, 0.25, 0.0]
    assert [one.dormancy for one in facts] == [None] * 3


def test_wrong_calls(network):
    with pytest.raises(UnknownNameError, match="'1' is no node group"):
        node_facts(network, "1")
    with pytest.raises(SetupError, match="there was no batch"):
        network.dormancy("0", [])
    with pytest.raises(SetupError, match="list is neither a tensor nor a pair"):
        network.dormancy("0", [[1, 2, 3]])
