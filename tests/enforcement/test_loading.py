"""Model, optimizer and masks may be loaded in any order."""

import copy

import torch
from torch import nn

from sleepengine.masks.bits import pack

HALF = torch.tensor([[True, False, True], [False, True, False]])


def train(model, optimizer, steps=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(torch.randn(5, 3, generator=generator)) ** 2).sum().backward()
        optimizer.step()


def test_frozen_values_survive_loading_in_both_orders(rig):
    def build():
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.3)
        return model, optimizer, rig(dict(model.named_parameters()), [optimizer])

    def load(model, optimizer, engine, saved, order):
        for part in order:
            if part == "model":
                model.load_state_dict(saved["model"])
            elif part == "optimizer":
                optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
            else:
                store = engine.store
                store.load_state_dict(saved["store"])
                inactive = {n: ~t for n in store.names() if (t := store.trainable(n)) is not None}
                engine.state.adopt({n: pack(m) for n, m in inactive.items()})
                engine.state.load_state_dict(saved["state"])
                engine.enforcer.load_state_dict(saved["enforcer"])

    sleepers = torch.tensor([[True, False, False], [False, False, False]])
    model, optimizer, engine = build()
    train(model, optimizer, 2)
    engine.sleep("weight", sleepers)
    engine.freeze("weight", torch.tensor([[True, True, False], [False, True, False]]))
    train(model, optimizer, 2, seed=1)
    saved = copy.deepcopy(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "store": engine.store.state_dict(),
            "state": engine.state.state_dict(),
            "enforcer": engine.enforcer.state_dict(),
        }
    )
    train(model, optimizer, 3, seed=2)
    engine.thaw("weight", torch.ones(2, 3, dtype=torch.bool))
    train(model, optimizer, 2, seed=3)
    for order in (
        ("model", "optimizer", "engine"),
        ("engine", "optimizer", "model"),
        ("optimizer", "engine", "model"),
        ("model", "engine", "optimizer"),
    ):
        other, stepper, second = build()
        train(other, stepper, 5, seed=9)
        second.sleep("weight", torch.tensor([[False, True, True], [True, False, False]]))
        second.freeze("bias", torch.tensor([True, False]))
        load(other, stepper, second, saved, order)
        train(other, stepper, 3, seed=2)
        second.thaw("weight", torch.ones(2, 3, dtype=torch.bool))
        train(other, stepper, 2, seed=3)
        assert torch.equal(other.weight, model.weight), order
        assert torch.equal(other.bias, model.bias), order
        mine, theirs = stepper.state_dict()["state"], optimizer.state_dict()["state"]
        for place, state in theirs.items():
            assert all(torch.equal(mine[place][k], v) for k, v in state.items()), order
