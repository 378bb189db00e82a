"""Optimizer state is found by parameter, not by place: groups in any order, with gaps."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss

from sleepengine import SleepEngine


def model() -> nn.Sequential:
    """Parameters: 0.weight 1.weight 1.bias 2.weight 2.bias 3.weight; "0" and "3" have no bias."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(4, 4, bias=False),
            nn.Linear(4, 4),
            nn.LayerNorm(4),
            nn.Linear(4, 4, bias=False),
        )


GROUPS = {
    # as they come
    "whole": [["0.weight", "1.weight", "1.bias", "2.weight", "2.bias", "3.weight"]],
    # backwards
    "backwards": [["3.weight", "2.bias", "2.weight", "1.bias", "1.weight", "0.weight"]],
    # not contiguous: every second one
    "woven": [["1.weight", "2.weight", "3.weight"], ["0.weight", "1.bias", "2.bias"]],
    # another order, and 2.weight and 1.bias in no group
    "gaps": [["3.weight"], ["2.bias", "0.weight"], ["1.weight"]],
    # equal shapes side by side, the norm alone last
    "equal shapes": [["1.weight", "3.weight", "0.weight"], ["2.bias", "2.weight", "1.bias"]],
}
MAKERS: dict[str, Callable[[list[dict]], optim.Optimizer]] = {
    "sgd": lambda g: optim.SGD(g, 0.05, momentum=0.9, weight_decay=0.1),
    "adamw": lambda g: optim.AdamW(g, 0.01, weight_decay=0.1),
    "adam fused": lambda g: optim.Adam(g, 0.01, fused=True),
    "rmsprop": lambda g: optim.RMSprop(g, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda g: optim.Adagrad(g, 0.05),
}
CHOSEN = {"0.weight": [(0, 1), (3, 3)], "3.weight": [(1, 0), (1, 2), (2, 2)], "1.weight": [(2, 1)]}


def build(groups: str, maker: str):
    net = model()
    params = dict(net.named_parameters())
    options = [{"lr": 0.01 * (1 + k)} for k in range(3)]
    optimizer = MAKERS[maker](
        [
            {"params": [params[n] for n in names], **how}
            for names, how in zip(GROUPS[groups], options, strict=False)
        ]
    )
    return net, params, optimizer


def train(net: nn.Module, optimizer: optim.Optimizer, steps: int, first: int = 0) -> None:
    for i in range(first, first + steps):
        generator = torch.Generator().manual_seed(i)
        x, y = torch.randn(2, 6, 4, generator=generator)
        net.zero_grad()
        mse_loss(net(x), y).backward()
        optimizer.step()


def state_of(params, optimizer):
    """Name -> its state tensors, found through the parameter object itself."""
    return {
        name: {k: v.clone() for k, v in optimizer.state[p].items() if v.shape == p.shape}
        for name, p in params.items()
        if p in optimizer.state
    }


def mask_of(name: str) -> torch.Tensor:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    for place in CHOSEN.get(name, ()):
        mask[place] = True
    return mask


@pytest.mark.filterwarnings("ignore:.*no optimizer steps.*:UserWarning")
@pytest.mark.parametrize("maker", list(MAKERS))
@pytest.mark.parametrize("groups", list(GROUPS))
def test_exactly_the_chosen_entries_of_exactly_the_right_state_change(groups, maker):
    net, params, optimizer = build(groups, maker)
    train(net, optimizer, 3)
    engine = SleepEngine(net, optimizer, park_state="all").attach()
    before = state_of(params, optimizer)
    assert set(before) == {name for names in GROUPS[groups] for name in names}
    for name, places in CHOSEN.items():
        engine.sleep_weights(name, places)
    now = state_of(params, optimizer)
    for name, tensors in before.items():
        mask = mask_of(name) if params[name].dim() == 2 else torch.zeros(4, dtype=torch.bool)
        for key, old in tensors.items():
            assert torch.equal(now[name][key] != old, mask & (now[name][key] != old)), (name, key)
            if mask.any() and bool((old[mask] != 0).any()):
                assert not torch.equal(now[name][key][mask], old[mask]), (name, key)
    for name, places in CHOSEN.items():
        assert engine.wake_weights(name, places, state="parked") == len(places)
    again = state_of(params, optimizer)
    for name, tensors in before.items():
        for key, old in tensors.items():
            assert torch.equal(again[name][key], old), (name, key)


@pytest.mark.filterwarnings("ignore:.*no optimizer steps.*:UserWarning")
@pytest.mark.parametrize("maker", list(MAKERS))
@pytest.mark.parametrize("groups", list(GROUPS))
def test_the_run_is_that_of_a_network_masked_by_hand(groups, maker):
    """After waking with fresh state too: the state of the woken entries starts at zero."""
    net, params, optimizer = build(groups, maker)
    twin, others, second = build(groups, maker)
    engine = SleepEngine(net, optimizer).attach()
    train(net, optimizer, 3)
    train(twin, second, 3)
    for name, places in CHOSEN.items():
        engine.sleep_weights(name, places)
    masks = {name: mask_of(name) for name in CHOSEN}
    for name, mask in masks.items():
        others[name].data.masked_fill_(mask, 0.0)
        for tensor in second.state[others[name]].values():
            if tensor is not None and tensor.shape == mask.shape:
                tensor.masked_fill_(mask, 0.0)
    train(net, optimizer, 4, first=3)
    for i in range(3, 7):
        generator = torch.Generator().manual_seed(i)
        x, y = torch.randn(2, 6, 4, generator=generator)
        twin.zero_grad()
        mse_loss(twin(x), y).backward()
        for name, mask in masks.items():
            others[name].grad.masked_fill_(mask, 0.0)
        second.step()
        for name, mask in masks.items():
            others[name].data.masked_fill_(mask, 0.0)
    for name, parameter in params.items():
        assert torch.equal(parameter, others[name]), name
    mine, theirs = state_of(params, optimizer), state_of(others, second)
    for name, tensors in theirs.items():
        awake = ~mask_of(name) if params[name].dim() == 2 else torch.ones(4, dtype=torch.bool)
        for key, value in tensors.items():
            assert torch.equal(mine[name][key][awake], value[awake]), (name, key)


@pytest.mark.filterwarnings("ignore:.*no optimizer steps.*:UserWarning")
@pytest.mark.parametrize("groups", list(GROUPS))
def test_what_is_saved_stands_at_the_places_of_the_optimizer(groups):
    """state_dict() numbers parameters by group; true values appear under the right number."""
    net, _, optimizer = build(groups, "adamw")
    train(net, optimizer, 3)
    true = copy.deepcopy(optimizer.state_dict())
    engine = SleepEngine(net, optimizer, park_state="all").attach()
    for name, places in CHOSEN.items():
        engine.sleep_weights(name, places)
    saved = optimizer.state_dict()
    for place, state in true["state"].items():
        for key, value in state.items():
            assert torch.equal(saved["state"][place][key], value), (place, key)
    other, _, again = build(groups, "adamw")
    again.load_state_dict(saved)
    other.load_state_dict(net.state_dict())
    live = state_of(dict(other.named_parameters()), again)
    names = [name for group in GROUPS[groups] for name in group]
    for place, name in enumerate(names):
        assert torch.equal(live[name]["exp_avg"], true["state"][place]["exp_avg"]), name
