"""Scorers of activations look at the training loop's own forward passes: no batches, no data."""

import copy

import pytest
import torch
from torch import nn

from saliency import ActivationVariance, APoZ, Dormancy, MeanActivation, Signals, Wanda, gather
from schedules import once, plateau
from sleepengine import Global, Nodes, PerRow, PerTensor, Rule, Sleep, SleepEngine, Who, count, to


def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(5, 2)).double()


def batch(seed):
    return torch.randn(
        6, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def worth(scorer, model, x, names):
    params = dict(model.named_parameters())
    own = {name: params[name] for name in names}
    found = gather(model, own, scorer.activations, [x])
    with torch.no_grad():
        return scorer.score(Signals(weights=own, activations=found))


@pytest.mark.parametrize(
    "scorer",
    [Dormancy(torch.relu), MeanActivation(), ActivationVariance(), APoZ()],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("when", ["0it", "3it"])
def test_nodes_by_the_step_at_hand(scorer, when):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rule = Rule(once(when), Who(scorer, Nodes(), Global(), count(3)), Sleep())
    engine = SleepEngine(model, optimizer, [rule], example_inputs=batch(0)).attach()
    groups = list(engine.live.nodes.groups.values())
    for k in range(4):
        # The passes are those of before the step; "0it" acts before the first step.
        before = copy.deepcopy(model)
        step(model, optimizer, batch(k))
        if k == max(0, int(when[:-2]) - 1):
            break
    assert engine.journal.last().changed > 0
    names = Nodes(groups).scored
    scores = Nodes(groups).pool(worth(scorer, before, batch(k), names))
    order = sorted((float(s), n, i) for n, line in scores.items() for i, s in enumerate(line))
    asleep = {
        (n, i) for n in scores for i in engine.is_sleeping_node(n).nonzero().flatten().tolist()
    }
    assert asleep == {(n, i) for _, n, i in order[:3]}


def test_weights_by_the_step_at_hand():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    who = Who(Wanda(), pools=PerRow(), amount=to(0.5), params=["3.weight", "5.weight"])
    engine = SleepEngine(model, optimizer, [Rule(once("2it"), who, Sleep())]).attach()
    for k in range(2):
        step(model, optimizer, batch(k))
    scores = worth(Wanda(), net(), batch(1), who.patterns)
    for name in who.patterns:
        k = scores[name].shape[1] // 2 + scores[name].shape[1] % 2
        lowest = scores[name].argsort(dim=1, stable=True)[:, :k]
        expected = torch.zeros(scores[name].shape, dtype=torch.bool).scatter_(1, lowest, True)
        assert torch.equal(~engine.store.awake(name), expected)


def test_a_plateau_waits_for_the_next_pass():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    who = Who(Dormancy(torch.relu), Nodes(), PerTensor(), count(1))
    rule = Rule(plateau("loss", 1), who, Sleep())
    engine = SleepEngine(model, optimizer, [rule], example_inputs=batch(0)).attach()
    for _ in range(2):
        step(model, optimizer, batch(0))
        engine.metric("loss", 1.0)
    assert len(engine.journal) == 0
    step(model, optimizer, batch(1))
    assert len(engine.journal) == 1
