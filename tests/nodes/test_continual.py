"""Continual backprop and ReDo on the loop's own forward passes, against slow loops by hand."""

import math

import pytest
import torch
from torch import nn

from saliency import Dormancy, Magnitude, Utility
from schedules import at, every, once
from sleepengine import (
    Nodes,
    PerTensor,
    Reset,
    Rule,
    SetupError,
    Side,
    SleepEngine,
    Who,
    below,
    count,
    older_than,
    rate,
)

DECAY, RATE, MATURITY = 0.9, 0.13, 3


class Reference:
    """Utility, age and slow mean of each node of one hidden layer, in plain Python and tensors."""

    def __init__(self, into, out, centred, against):
        self.into, self.out, self.centred, self.against = into, out, centred, against
        n = into.out_features
        self.u, self.t, self.m = (torch.zeros(n, dtype=torch.float64) for _ in range(3))
        self.since, self.carry = torch.zeros(n), 0.0

    def used(self, h):
        if not self.centred:
            return h.abs().mean(0)
        slow = (DECAY * self.m + (1 - DECAY) * h.mean(0)) / (1 - DECAY ** (self.t + 1))
        return (h - slow).abs().mean(0)

    def chosen(self, h, now, out, into):
        """Who starts again after step `now`; weights are those after the optimizer."""
        worth = out.abs().mean(0) * self.used(h)
        score = torch.where(self.t > 0, self.u / (1 - DECAY ** self.t.clamp(min=1)), worth)
        if self.against:
            score = score / into.abs().mean(1)
        old = now - self.since >= MATURITY
        due = RATE * int(old.sum()) + self.carry
        k = math.floor(due + 1e-9)
        self.carry = due - k
        order = [i for i in torch.argsort(score, stable=True).tolist() if old[i]]
        return sorted(order[:k])

    def observe(self, h, now, fresh):
        """Average this step in, with the weights after the resets; the new ones begin later."""
        self.u = DECAY * self.u + (1 - DECAY) * self.out.weight.detach().abs().mean(0) * self.used(
            h
        )
        self.m = DECAY * self.m + (1 - DECAY) * h.mean(0)
        self.t = self.t + 1
        for kept in (self.u, self.m, self.t):
            kept[fresh] = 0
        self.since[fresh] = now


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("against", [None, Side.INCOMING])
def test_the_nodes_of_a_slow_loop_start_again(mlp, mlp_groups, centred, against):
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(mlp.parameters(), 0.3)
    units = Nodes(over=Side.OUTGOING, against=against)
    who = Who(
        Utility(DECAY, centred=centred), units, PerTensor(), rate(RATE), where=older_than("3it")
    )
    engine = SleepEngine(mlp, optimizer, [Rule(every("1it"), who, Reset())], nodes=mlp_groups)
    engine.attach()
    hidden = {}
    mlp[1].register_forward_hook(lambda *a: hidden.__setitem__(0, a[2].detach()))
    mlp[3].register_forward_hook(lambda *a: hidden.__setitem__(1, a[2].detach()))
    slow = [
        Reference(mlp[0], mlp[2], centred, against is not None),
        Reference(mlp[2], mlp[4], centred, against is not None),
    ]
    resets = 0
    for step in range(1, 40):
        optimizer.zero_grad()
        x = torch.randn(4, 4, dtype=torch.float64)
        mlp(x).square().mean().backward()
        after = {n: p.detach() - 0.3 * p.grad for n, p in mlp.named_parameters()}
        optimizer.step()
        expected = [
            one.chosen(hidden[k], step, after[f"{2 * k + 2}.weight"], after[f"{2 * k}.weight"])
            for k, one in enumerate(slow)
        ]
        for k, one in enumerate(slow):
            zero = (one.out.weight == 0).all(0).nonzero().flatten().tolist()
            assert zero == expected[k], (step, k)
            one.observe(hidden[k], step, expected[k])
            resets += len(zero)
        known = who.scorer.state_dict()
        torch.testing.assert_close(
            known["mean"]["2.weight"].mean(0), slow[0].u, rtol=1e-9, atol=1e-15
        )
    assert resets > 10


def run(net, optimizer, steps, x):
    for _ in range(steps):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()


def test_what_a_node_gave_on_average_goes_into_the_bias(mlp, mlp_groups):
    """With inputs that stay the same, and rates that are zero, the output does not move at all."""
    optimizer = torch.optim.SGD(mlp.parameters(), 0.0)
    x = torch.randn(1, 4, dtype=torch.float64).expand(4, 4)
    before = mlp(x).detach()
    who = Who(
        Utility(DECAY, means=True), Nodes(over=Side.OUTGOING), PerTensor(), count(2), params="2"
    )
    rule = Rule(once("3it"), who, Reset(transfer=True))
    engine = SleepEngine(mlp, optimizer, [rule], nodes=mlp_groups).attach()
    bias, weight = mlp[4].bias.detach().clone(), mlp[4].weight.detach().clone()
    hidden = mlp[:4](x)[0].detach()
    run(mlp, optimizer, 2, x)
    torch.testing.assert_close(who.scorer.mean_inputs()["4.weight"][0], hidden)
    run(mlp, optimizer, 1, x)
    fresh = (mlp[4].weight == 0).all(0)
    assert int(fresh.sum()) == 2
    torch.testing.assert_close(mlp[4].bias.detach() - bias, (weight * hidden)[:, fresh].sum(1))
    torch.testing.assert_close(mlp(x).detach(), before)
    assert engine.journal.last().note == "survivors were moved to make up for it"


def test_means_of_a_flattened_map(residual, residual_group):
    """A channel that a linear layer reads in four places leaves four means behind."""
    optimizer = torch.optim.SGD(residual.parameters(), 0.0)
    x = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    who = Who(Utility(means=True), Nodes(over=Side.OUTGOING), PerTensor(), count(1))
    rule = Rule(once("3it"), who, Reset(transfer=True))
    SleepEngine(residual, optimizer, [rule], nodes=[residual_group]).attach()
    seen, weight = [], residual.fc.weight.detach().clone()
    residual.fc.register_forward_hook(lambda m, args, out: seen.append(args[0].detach().mean(0)))
    bias = residual.fc.bias.detach().clone()
    run(residual, optimizer, 3, x)
    fresh = (residual.fc.weight == 0).all(0)
    assert int(fresh.sum()) == 4
    mean = (0.01 * 0.99 * seen[0] + 0.01 * seen[1]) / (1 - 0.99**2)
    torch.testing.assert_close(
        residual.fc.bias.detach() - bias, (weight * mean)[:, fresh].sum(1), rtol=1e-9, atol=1e-12
    )


def test_histories_begin_again_by_direct_calls_and_come_back_from_a_file(mlp, mlp_groups):
    optimizer = torch.optim.SGD(mlp.parameters(), 0.1)
    who = Who(Utility(centred=True), Nodes(over=Side.OUTGOING), PerTensor(), rate(0.0))
    rule = Rule(every("1it"), who, Reset())
    engine = SleepEngine(mlp, optimizer, [rule], nodes=mlp_groups).attach()
    x = torch.randn(5, 4, dtype=torch.float64)
    run(mlp, optimizer, 3, x)
    engine.reset_nodes("0", [1, 4])
    engine.sleep_nodes("0", 2)
    engine.wake_nodes("0", 2)
    run(mlp, optimizer, 2, x)
    state = who.scorer.state_dict()
    assert state["steps"] == {"2.weight": 5, "4.weight": 5}
    assert (state["steps"]["2.weight"] - state["since"]["2.weight"])[0].tolist() == [
        5,
        2,
        2,
        5,
        2,
        5,
    ]
    again = Utility(centred=True)
    again.load_state_dict(state)
    assert {k: v.tolist() for k, v in again.mean_inputs().items()} == {
        k: v.tolist() for k, v in who.scorer.mean_inputs().items()
    }
    with pytest.raises(ValueError, match="from 0 to its steps"):
        again.load_state_dict({**state, "since": {"2.weight": state["since"]["2.weight"] + 9}})


def test_redo_needs_no_batches():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [2.0, 0.0]]))
        net[0].bias.zero_()
    who = Who(Dormancy(torch.relu), Nodes(), PerTensor(), below(0.025))
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    x = torch.rand(8, 2, dtype=torch.float64)
    engine = SleepEngine(net, optimizer, [Rule(once("2it"), who, Reset())], example_inputs=x)
    engine.attach()
    run(net, optimizer, 3, x)
    assert (net[2].weight == 0).tolist() == [[False, True, False]]


def test_dormancy_over_time_forgets_a_node_that_starts_again():
    """Unit 1 is silent for two steps; reset at step 2, its two new steps alone count at step 5."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [2.0, 0.0]]))
        net[0].bias.zero_()
    scorer = Dormancy(torch.relu, accumulate=True)
    who = Who(scorer, Nodes(), PerTensor(), below(0.025))
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    x = torch.rand(8, 2, dtype=torch.float64)
    rule = Rule(at("2it", "5it"), who, Reset(value="original"))
    engine = SleepEngine(net, optimizer, [rule], example_inputs=x).attach()
    run(net, optimizer, 2, x)
    assert (net[2].weight == 0).tolist() == [[False, True, False]]
    with torch.no_grad():
        net[0].weight[1] = 1.0
    run(net, optimizer, 2, x)
    used = torch.relu(x @ torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 0.0]]).double().T).mean(0)
    state = scorer.state_dict()
    torch.testing.assert_close(state["mean"]["0.weight"].flatten(), used)
    assert state["steps"]["0.weight"] == 4
    assert state["since"]["0.weight"].flatten().tolist() == [0, 2, 0]
    run(net, optimizer, 1, x)
    assert engine.journal.last().changed == 0


def test_what_a_transfer_takes():
    rule = Rule(
        once("1it"),
        Who(Utility(), Nodes(over=Side.OUTGOING), amount=count(1)),
        Reset(transfer=True),
    )
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = torch.zeros(1, 2)
    for who in (
        Who(Utility(), Nodes(over=Side.OUTGOING), amount=count(1)),
        Who(Utility(means=True), Nodes(), amount=count(1)),
        Who(Utility(means=True), amount=count(1)),
        Who(Magnitude(), Nodes(over=Side.OUTGOING), amount=count(1)),
    ):
        rule = Rule(once("1it"), who, Reset(transfer=True))
        with pytest.raises(SetupError, match=r"takes Who\(Utility\(means=True\)"):
            SleepEngine(net, rules=[rule], example_inputs=x)
    with pytest.raises(SetupError, match="the readers lose nothing"):
        Reset(outgoing="fresh", transfer=True)
    with pytest.raises(SetupError, match="against="):
        Nodes(against="incoming")
