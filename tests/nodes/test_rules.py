"""Rules over nodes: scores, pools, floors, and every action."""

import warnings

import pytest
import torch
from torch import nn

from saliency import Dormancy, Magnitude, Utility
from schedules import every, once
from sleepengine import (
    CollapseError,
    Freeze,
    Global,
    Max,
    Nodes,
    NofM,
    Norm,
    PerRow,
    PerTensor,
    Reset,
    Rule,
    SetupError,
    Side,
    Sleep,
    SleepEngine,
    Total,
    Wake,
    Who,
    below,
    by,
    count,
    older_than,
    rate,
    to,
)
from sleepengine.nodes import NodeGroup, Slice


def asleep(engine, name):
    return engine.is_sleeping_node(name).nonzero().flatten().tolist()


@pytest.fixture
def scaled(mlp):
    """Row i of the first layer has the value i + 1, of the second 10 (i + 1)."""
    with torch.no_grad():
        for layer, factor in ((mlp[0], 1), (mlp[2], 10)):
            layer.weight.copy_(factor * (torch.arange(len(layer.weight)) + 1.0)[:, None])
    return mlp


@pytest.mark.parametrize(
    ("pools", "amount", "first", "second"),
    [
        (PerTensor(), to(0.5), [0, 1, 2], [0, 1, 2]),  # 3 of 6, and floor(2.5 + 1/2) of 5
        (Global(), count(4), [0, 1, 2, 3], []),
        (Global(), count(7), [0, 1, 2, 3, 4], [0, 1]),  # the last of the first layer is spared
        (PerTensor(), below(2.0), [0, 1], []),
    ],
    ids=repr,
)
def test_who_sleeps(scaled, mlp_groups, pools, amount, first, second):
    engine = SleepEngine(scaled, nodes=mlp_groups)
    engine.fire(Rule(once("0it"), Who(Magnitude(), Nodes(), pools, amount), Sleep()))
    assert (asleep(engine, "0"), asleep(engine, "2")) == (first, second)
    assert not scaled[0].bias[first].any()


def test_no_layer_dies(scaled, mlp_groups):
    engine = SleepEngine(scaled, nodes=mlp_groups)
    with pytest.raises(CollapseError, match="one awake unit"):
        engine.fire(Rule(once("0it"), Who(Magnitude(), Nodes(), Global(), to(0.95)), Sleep()))
    assert not engine.store.entries()


@pytest.mark.parametrize(
    ("reduce", "over", "expected"),
    [
        (Total(), Side.INCOMING, [3.0, 7.0]),
        (Max(), Side.INCOMING, [2.0, 4.0]),
        (Norm(2), Side.INCOMING, [5**0.5, 5.0]),
        (Total(), Side.OUTGOING, [5.0, 6.0]),
        (Total(), Side.SCALE, [0.5, 0.25]),
        (Total(), Side.ALL, [8.5 + 7, 13.25 + 8]),
    ],
    ids=repr,
)
def test_reductions_and_sides(reduce, over, expected):
    group = NodeGroup("a", 2, [Slice("a.weight")], [Slice("b.weight", 1)], ["n.weight", "a.bias"])
    scores = {
        "a.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "b.weight": torch.tensor([[5.0, 6.0]]),
        "n.weight": torch.tensor([0.5, 0.25]),
        "a.bias": torch.tensor([7.0, 8.0]),
    }
    torch.testing.assert_close(
        Nodes([group], reduce, over).pool(scores)["a"], torch.tensor(expected)
    )


def test_batchnorm_factor_decides(residual, residual_group):
    with torch.no_grad():
        residual.b1.weight.copy_(torch.tensor([1.0, -0.1, 0.5, 2.0]))
        residual.b2.weight.copy_(torch.tensor([1.0, 0.2, -0.1, 2.0]))
    engine = SleepEngine(residual, nodes=[residual_group])
    who = Who(Magnitude(), Nodes(over=Side.SCALE), PerTensor(), count(1))
    engine.fire(Rule(once("0it"), who, Sleep()))
    assert asleep(engine, "c1") == [1]


def test_sleep_wake_freeze_by_rules(scaled, mlp_groups, train):
    optimizer = torch.optim.AdamW(scaled.parameters(), 0.001)
    who = {"scorer": Magnitude(), "units": Nodes(), "params": "0"}
    rules = [
        Rule(once("1it"), Who(**who, amount=to(0.5)), Sleep()),
        Rule(once("3it"), Who(**who, amount=count(1)), Freeze()),
        Rule(once("5it"), Who(**who, amount=to(0.0)), Wake(outgoing="zero")),
    ]
    engine = SleepEngine(scaled, optimizer, rules, nodes=mlp_groups).attach()
    train(scaled, optimizer, (4, 4), 2)
    assert asleep(engine, "0") == [0, 1, 2]
    train(scaled, optimizer, (4, 4), 2)
    assert engine.get_sleep_state("0").nodes.frozen.tolist() == [False] * 3 + [True] + [False] * 2
    with torch.no_grad():
        kept = scaled[0].weight[3].clone()
    train(scaled, optimizer, (4, 4), 1)
    assert asleep(engine, "0") == []
    assert not scaled[2].weight[:, :3].any()
    train(scaled, optimizer, (4, 4), 2)
    assert torch.equal(scaled[0].weight[3], kept)
    assert [record.action for record in engine.journal] == ["Sleep", "Freeze", "Wake"]


def test_dormant_nodes_are_reset():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [2.0, 0.0]]))
        net[0].bias.zero_()
    group = NodeGroup("0", 3, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias"])
    data = [(torch.rand(8, 2, dtype=torch.float64), torch.zeros(8, 1, dtype=torch.float64))] * 2
    who = Who(Dormancy(torch.relu), Nodes([group]), PerTensor(), below(0.025), batches=1)
    rule = Rule(once("1it"), who, Reset())
    engine = SleepEngine(net, rules=[rule], data=data, loss_fn=nn.functional.mse_loss)
    engine.fire(rule)
    assert net[2].weight[0, 1] == 0
    assert net[0].weight[1].tolist() != [-1.0, -1.0]
    assert net[0].weight[[0, 2]].tolist() == [[1.0, 1.0], [2.0, 0.0]]


def test_continual_backprop(mlp, mlp_groups, train):
    optimizer = torch.optim.Adam(mlp.parameters(), 0.01)
    data = [(torch.randn(4, 4, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64))]
    who = Who(
        Utility(0.9),
        Nodes(over=Side.OUTGOING),
        PerTensor(),
        rate(0.1),
        where=older_than("3it"),
        batches=1,
    )
    rule = Rule(every("1it"), who, Reset())
    engine = SleepEngine(
        mlp, optimizer, [rule], nodes=mlp_groups, data=data, loss_fn=nn.functional.mse_loss
    ).attach()
    train(mlp, optimizer, (4, 4), 12)
    changed = sum(record.changed for record in engine.journal)
    assert changed > 0
    saved = engine.state_dict()
    assert saved["memories"][rule.name]["filters"][0]["0"].shape == (6,)


def test_amounts_count_nodes(scaled, mlp_groups):
    engine = SleepEngine(scaled, nodes=mlp_groups)
    rule = Rule(once("0it"), Who(Magnitude(), Nodes(), PerTensor(), by(0.5)), Sleep())
    engine.fire(rule)
    engine.fire(rule)
    assert (len(asleep(engine, "0")), len(asleep(engine, "2"))) == (5, 4)  # 3 + 2, 3 + 1


def test_a_reader_without_weights_is_warned_about(mlp, mlp_groups):
    group = NodeGroup(
        "0", 6, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias"], read_by=["norm"]
    )
    rule = Rule(once("1it"), Who(Magnitude(), Nodes([group]), amount=count(1)), Sleep())
    engine = SleepEngine(mlp, torch.optim.SGD(mlp.parameters(), 0.1), [rule])
    with pytest.warns(UserWarning, match="nodes of '0' are read by norm without weights"):
        engine.attach()
    engine.detach()
    with pytest.warns(UserWarning, match="it does not vanish"):
        engine.sleep_nodes("0", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.wake_nodes("0", 0)


def test_wrong_rules(mlp, mlp_groups):
    def engine(who, what):
        return SleepEngine(mlp, rules=[Rule(once("1it"), who, what)], nodes=mlp_groups)

    with pytest.raises(SetupError, match="'fc' names no node group"):
        engine(Who(Magnitude(), Nodes(), amount=count(1), params="fc"), Sleep())
    with pytest.raises(SetupError, match="never learns"):
        engine(Who(Magnitude(), Nodes(), amount=count(1)), Reset(value="zero"))
    with pytest.raises(SetupError, match="single weights"):
        Who(Magnitude(), Nodes(), NofM(2, 4))
    with pytest.raises(SetupError, match="row of nodes"):
        Who(Magnitude(), Nodes(), PerRow(), to(0.5))
    with pytest.raises(SetupError, match="finds no node group"):
        SleepEngine(
            mlp, rules=[Rule(once("1it"), Who(Magnitude(), Nodes(), amount=count(1)), Sleep())]
        )
    with pytest.raises(SetupError, match="no group has anything on the side 'scale'"):
        engine(Who(Magnitude(), Nodes(over=Side.SCALE), amount=count(1)), Sleep())
    with pytest.raises(SetupError, match="write Side"):
        Nodes(over="incoming")
