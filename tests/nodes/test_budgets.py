"""Rules over nodes with a budget of parameters or FLOPs, against one node after the other."""

import pytest
import torch
from torch import nn

from saliency import Magnitude
from schedules import linear, once
from sleepengine import (
    ER,
    CollapseError,
    Global,
    Nodes,
    NofM,
    PerRow,
    PerTensor,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Wake,
    Weights,
    Who,
    to_flops,
    to_parameters,
)

SHARES = (0.0, 0.1, 0.25, 0.4, 0.6, 0.75)


def net():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 7),
        nn.ReLU(),
        nn.Linear(7, 3),
    )


X = torch.zeros(2, 1, 8, 8)


def engine_of(amount, what, pools, **more):
    who = Who(Magnitude(), Nodes(), pools, amount, **more)
    return SleepEngine(net(), rules=[Rule(once("0it"), who, what)], example_inputs=X)


def masks_of(engine):
    return {name: engine.is_sleeping_node(name) for name in engine.live.nodes.groups}


def in_order(engine, highest=False):
    """(group, node) by score, then by group and index."""
    params = {name: p.detach().abs() for name, p in engine.live.params.items()}
    scores = Nodes(list(engine.live.nodes.groups.values())).pool(params)
    order = [
        (float(s), g, i)
        for g, (name, line) in enumerate(scores.items())
        for i, s in enumerate(line)
    ]
    names = list(scores)
    order.sort(key=lambda one: (-one[0] if highest else one[0], one[1], one[2]))
    return [(names[g], i) for _, g, i in order]


COSTS = [(to_parameters, "parameters"), (to_flops, "flops")]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("amount", "cost"), COSTS)
def test_the_lowest_nodes_until_the_budget_is_met(amount, cost, share):
    engine = engine_of(amount(share), Sleep(), Global())
    prices = engine.live.nodes.prices({})
    masks = masks_of(engine)
    count = getattr(prices, cost)
    for name, node in in_order(engine):
        asleep, total = count(masks)
        if asleep >= share * total:
            break
        if masks[name].sum() < len(masks[name]) - 1:  # the last of a group stays
            masks[name][node] = True
    engine.fire(engine.rules[0])
    found = masks_of(engine)
    assert all(torch.equal(found[name], masks[name]) for name in masks)
    assert count(found)[0] >= share * total


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("amount", "cost"), COSTS)
def test_the_highest_nodes_wake_while_the_budget_holds(amount, cost, share):
    engine = engine_of(amount(share), Wake(), Global())
    for name, group in engine.live.nodes.groups.items():
        engine.sleep_nodes(name, slice(0, group.size - 1))
    prices = engine.live.nodes.prices({})
    masks = masks_of(engine)
    engine.fire(engine.rules[0])
    found = masks_of(engine)
    wake = [(n, i) for n, i in in_order_zeroed(engine, masks) if masks[n][i]]
    for name, node in wake:
        tried = {**masks, name: masks[name].clone()}
        tried[name][node] = False
        asleep, total = getattr(prices, cost)(tried)
        if asleep < share * total:
            break
        masks = tried
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def in_order_zeroed(engine, masks):
    """Sleeping nodes score alike (their weights are zero): by group and index."""
    return [(name, i) for name in masks for i in range(len(masks[name]))]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("amount", "cost"), COSTS)
def test_layer_by_layer_the_same_share_of_every_group(amount, cost, share):
    engine = engine_of(amount(share), Sleep(), PerTensor())
    prices = engine.live.nodes.prices({})
    groups = {name: group.size for name, group in engine.live.nodes.groups.items()}
    order = in_order(engine)
    for step in range(421):  # every share k / 2n for n = 5, 6, 7 is a multiple of 1 / 420
        masks = {}
        for name, size in groups.items():
            k = min((step * size * 2 + 420) // 840, size - 1)  # floor(step / 420 size + 1/2)
            masks[name] = torch.zeros(size, dtype=torch.bool)
            masks[name][[i for n, i in order if n == name][:k]] = True
        asleep, total = getattr(prices, cost)(masks)
        if asleep >= share * total:
            break
    engine.fire(engine.rules[0])
    found = masks_of(engine)
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_what_sleeps_already_counts_also_in_other_groups():
    engine = engine_of(to_parameters(0.3), Sleep(), Global(), params=["3"])
    engine.sleep_nodes("6", [0, 1, 2, 3, 4])
    asleep, total = engine.live.nodes.prices({}).parameters(masks_of(engine))
    assert asleep > 0.3 * total
    assert engine.fire(engine.rules[0]).slept.is_empty()
    engine.wake_nodes("6", [2, 3, 4])
    assert not engine.fire(engine.rules[0]).slept.is_empty()
    assert engine.live.nodes.prices({}).parameters(masks_of(engine))[0] >= 0.3 * total


def test_no_layer_dies():
    engine = engine_of(to_parameters(0.999), Sleep(), Global())
    with pytest.raises(CollapseError, match=r"one awake node of each group kept.* Ask for less"):
        engine.fire(engine.rules[0])
    assert not any(mask.any() for mask in masks_of(engine).values())
    most = engine_of(to_parameters(0.88), Sleep(), Global())
    most.fire(most.rules[0])
    assert all(not mask.all() for mask in masks_of(most).values())
    emptied = engine_of(to_parameters(0.95), Sleep(), Global(), allow_empty=True)
    emptied.fire(emptied.rules[0])
    assert any(mask.all() for mask in masks_of(emptied).values())


def test_names_in_files():
    from sleepengine.pipeline.configuration.tables import AMOUNTS

    assert AMOUNTS.entries["to_parameters"].make is to_parameters
    assert AMOUNTS.entries["to_flops"].make is to_flops


def test_a_curve_of_time():
    amount = to_flops(linear(0.0, 0.5))
    assert amount.at(0.5) == to_flops(0.25)
    assert amount.target(1.0) == 0.5
    assert "to_flops(" in repr(amount)


def test_wrong_arguments():
    with pytest.raises(SetupError, match=r"write 0\.5, not 50"):
        to_parameters(50)
    with pytest.raises(SetupError, match=r"to_parameters\(0.5\) is for nodes"):
        Who(Magnitude(), Weights(), Global(), to_parameters(0.5))
    with pytest.raises(SetupError, match="finds the share of each tensor itself"):
        Who(Magnitude(), Nodes(), PerTensor(ER()), to_flops(0.5))
    with pytest.raises(SetupError, match="takes no budget of FLOPs"):
        Who(Magnitude(), Nodes(), PerRow(), to_flops(0.5))
    with pytest.raises(SetupError, match="takes no amount"):
        Who(Magnitude(), Weights(), NofM(2, 4), to_flops(0.5))


def test_flops_need_inputs():
    groups = list(SleepEngine(net(), example_inputs=X).live.nodes.groups.values())
    rule = Rule(once("0it"), Who(Magnitude(), Nodes(), Global(), to_flops(0.5)), Sleep())
    with pytest.raises(SetupError, match="give the engine example_inputs="):
        SleepEngine(net(), rules=[rule], nodes=groups)
