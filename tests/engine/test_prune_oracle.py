"""Weights masked in place train exactly as torch.nn.utils.prune trains masked forward passes."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.nn.utils import prune

from saliency import Magnitude
from schedules import once
from sleepengine import Rule, Sleep, SleepEngine, Who, to

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "Adam": lambda p: optim.Adam(p, 0.02, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, 0.02),
    "NAdam": lambda p: optim.NAdam(p, 0.02),
    "RAdam": lambda p: optim.RAdam(p, 0.02),
    "Adamax": lambda p: optim.Adamax(p, 0.02),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1),
    "Adadelta": lambda p: optim.Adadelta(p, 1.0),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.9, centered=True),
    "Rprop": lambda p: optim.Rprop(p, 0.01),
    "ASGD": lambda p: optim.ASGD(p, 0.1, t0=10),
    "Muon": lambda p: optim.Muon(p, 0.05),
    "LBFGS": lambda p: optim.LBFGS(p, 0.5, max_iter=3),
}


def in_order(model):
    """Pruning moves a weight behind its bias, and the norm for clipping is summed in this order."""
    named = {name.removesuffix("_orig"): param for name, param in model.named_parameters()}
    return [named[name] for name in sorted(named)]


def run(model, optimizer, batch, steps):
    for i in range(steps):
        x, y = batch(i)

        def closure(x=x, y=y):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(in_order(model), 0.5)
            return loss

        optimizer.step(closure)
        yield i


@pytest.mark.filterwarnings("ignore:(Muon mixes|LBFGS keeps):UserWarning")
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_forty_clipped_steps_are_equal_bit_for_bit(kind, net, batch):
    ours, theirs = net(bias=kind != "Muon"), net(bias=kind != "Muon")
    rule = Rule(once("0it"), Who(Magnitude(), amount=to(0.6)), Sleep())
    optimizer = OPTIMIZERS[kind](in_order(ours))
    engine = SleepEngine(ours, optimizer, [rule]).attach()
    for layer in ("0", "2"):
        awake = engine.store.awake(f"{layer}.weight")
        prune.custom_from_mask(theirs.get_submodule(layer), "weight", awake)
    assert engine.store.asleep_count() == 29  # floor(0.6 * 48 + 1/2)
    start = ours[0].weight.detach().clone()
    oracle = OPTIMIZERS[kind](in_order(theirs))
    for i, _ in zip(run(ours, optimizer, batch, 40), run(theirs, oracle, batch, 40), strict=True):
        for layer in (0, 2):
            masked = theirs[layer].weight_orig * theirs[layer].weight_mask
            # Equal as numbers, since a product with a mask writes -0.0 for negative weights.
            assert torch.equal(ours[layer].weight, masked), (i, layer)
            if ours[layer].bias is not None:
                assert torch.equal(ours[layer].bias, theirs[layer].bias)
    assert not torch.equal(ours[0].weight, start)
