"""Taylor and Fisher on gates: a factor of 1 on each node, and what the loss makes of it."""

import pytest
import torch
from torch import nn

from saliency import Fisher, Signals, Taylor
from schedules import once
from sleepengine import Global, Nodes, Rule, Side, Sleep, SleepEngine, Total, Who, count
from sleepengine.nodes import NodeGroup, Slice


class Gated(nn.Module):
    """Channels, a flattened map and a concatenation: two readers of one group."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 2)
        self.fc = nn.Linear(4 * 4 + 3, 2)

    def forward(self, x, gate=None):
        h = self.c1(x).sigmoid()
        if gate is not None:
            h = h * gate[:, None, None]
        return self.fc(torch.cat([h.flatten(1), self.c2(h).flatten(1)], 1))


GROUP = NodeGroup(
    "c1",
    4,
    [Slice("c1.weight")],
    [Slice("fc.weight", 1, 0, 4, 4), Slice("c2.weight", 1)],
    ["c1.bias"],
)


def test_signed_taylor_terms_of_the_readers_add_up_to_the_gradient_of_a_gate():
    torch.manual_seed(0)
    net, x = Gated().double(), torch.randn(5, 1, 4, 4, dtype=torch.float64)
    gate = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (wanted,) = torch.autograd.grad(net(x, gate).square().sum(), gate)
    net(x).square().sum().backward()
    params = dict(net.named_parameters())
    signals = Signals(
        weights={n: p.detach() for n, p in params.items()},
        grads={n: p.grad for n, p in params.items()},
    )
    units = Nodes([GROUP], Total(absolute=True), over=Side.OUTGOING)
    found = units.pool(Taylor(signed=True).score(signals))["c1"]
    torch.testing.assert_close(found, wanted.abs())


@pytest.mark.parametrize("scorer", [Fisher(), Taylor(p=2)], ids=repr)
def test_the_factor_of_a_batchnorm_as_a_gate(scorer):
    """Molchanov et al. 2019: (gamma g)^2, of each sample for Fisher, of the batches for Taylor."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        net[1].weight.uniform_(0.5, 1.5)
    net.eval()
    data = [
        (torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64))
        for _ in range(2)
    ]
    loss = nn.MSELoss()
    gamma = net[1].weight
    pieces = data
    if isinstance(scorer, Fisher):
        pieces = [(x[i : i + 1], y[i : i + 1]) for x, y in data for i in range(4)]
    grads = [torch.autograd.grad(loss(net(x), y), gamma)[0] for x, y in pieces]
    if isinstance(scorer, Fisher):
        worth = gamma.detach() ** 2 * torch.stack(grads).square().mean(0)
    else:
        worth = (gamma.detach() * torch.stack(grads).mean(0)) ** 2
    who = Who(scorer, Nodes(over=Side.SCALE), Global(), count(2), batches=2)
    rule = Rule(once("1it"), who, Sleep())
    engine = SleepEngine(net, rules=[rule], example_inputs=data[0][0], data=data, loss_fn=loss)
    engine.fire(rule)
    asleep = engine.is_sleeping_node("0").nonzero().flatten().tolist()
    assert asleep == sorted(worth.argsort()[:2].tolist())
