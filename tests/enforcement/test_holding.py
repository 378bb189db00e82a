"""Steps that are held change nothing."""

import copy

import pytest
import torch
from torch import nn

from sleepengine.errors import SetupError

HALF = torch.tensor([[True, False, True], [False, True, False]])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def train(model, optimizer, steps=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(5, 3, generator=generator)) ** 2).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("switch", [{"foreach": False}, {"foreach": True}, {"fused": True}])
def test_held_step_changes_nothing(switch, closure, net, rig):
    params = dict(net.named_parameters())
    optimizer = torch.optim.AdamW(params.values(), lr=0.1, **switch)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    train(net, optimizer, 2)
    before = net.weight.detach().clone()
    state = copy.deepcopy(optimizer.state_dict())

    def backward():
        optimizer.zero_grad()
        loss = (net(torch.ones(1, 3)) ** 2).sum()
        loss.backward()
        return loss

    engine.enforcer.hold_step(optimizer)
    if closure:
        assert float(optimizer.step(backward).detach()) > 0
    else:
        backward()
        optimizer.step()
    assert torch.equal(net.weight, before)
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(after[0][k], v) for k, v in state["state"][0].items())
    assert net.weight.grad is not None
    assert bool(net.weight.grad[~HALF].any())
    optimizer.step()
    assert not torch.equal(net.weight, before)
    engine.enforcer.hold_step(optimizer)
    engine.enforcer.release_step(optimizer)
    before = net.weight.detach().clone()
    train(net, optimizer)
    assert not torch.equal(net.weight, before)


def test_lbfgs_step_cannot_be_held(net, rig):
    optimizer = torch.optim.LBFGS(net.parameters())
    engine = rig(dict(net.named_parameters()), [optimizer])
    with pytest.raises(SetupError, match="LBFGS cannot be held"):
        engine.enforcer.hold_step(optimizer)
