"""torch.nn.utils.prune as an oracle: random sequences of pruning and training, bit for bit."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn, optim
from torch.nn.utils import prune

from sleepengine import SleepEngine

from .catalogue import Configuration, configurations, kinds, livelier
from .comparing import words
from .scale import scaled

SEQUENCES = scaled(3, 200)  # for each optimizer
# What the oracle cannot be compared with, for reasons of its own.
APART = {
    optim.Adafactor: "its rate follows the norm of a parameter, with what prune leaves in there",
    optim.SparseAdam: "prune multiplies by a mask, which makes every gradient dense",
}
LAYERS = ("0", "2")


def build(bias: bool) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6, bias=bias), nn.Tanh(), nn.Linear(6, 3, bias=bias))


def in_order(model: nn.Module) -> list[nn.Parameter]:
    """Pruning moves a weight behind its bias, and norms and histories are taken in this order."""
    named = {name.removesuffix("_orig"): param for name, param in model.named_parameters()}
    return [named[name] for name in sorted(named)]


class Twins:
    """One model whose weights sleep, and one whose weights are pruned."""

    def __init__(self, configuration: Configuration) -> None:
        bias = configuration.takes_vectors
        self.ours, self.theirs = build(bias), build(bias)
        # pruned from the start, with nothing, so that the oracle's parameters stay the same objects
        for layer in LAYERS:
            prune.identity(self.theirs.get_submodule(layer), "weight")
        self.optimizers = [
            configuration.build(in_order(model)) for model in (self.ours, self.theirs)
        ]
        self.engine = SleepEngine(self.ours, self.optimizers[0], check_every=1).attach()

    def prune(self, draw: random.Random) -> None:
        """At random, the smallest or whole rows; the same mask for both."""
        layer = draw.choice(LAYERS)
        module = self.theirs.get_submodule(layer)
        before = module.weight_mask.clone()
        how = draw.randrange(3)
        if how == 0:
            prune.random_unstructured(module, "weight", draw.randint(1, 4))
        elif how == 1:
            prune.l1_unstructured(module, "weight", draw.randint(1, 4))
        else:
            prune.random_structured(module, "weight", 1, dim=0)
        self.engine.sleep_weights(layer, (before - module.weight_mask).bool())
        with torch.no_grad():  # pending gradients, and momentum, of what is pruned now: by hand
            self.forget(module)

    def forget(self, module: nn.Module) -> None:
        gone = module.weight_mask == 0
        param = module.weight_orig
        if param.grad is not None:
            param.grad[gone] = 0
        state = self.optimizers[1].state
        if any("old_dirs" in one for one in state.values()):
            state.clear()
            return
        for key, value in state.get(param, {}).items():
            if torch.is_tensor(value) and value.shape == param.shape and key != "step_size":
                first = key in {"exp_avg", "momentum_buffer", "grad_avg", "prev", "ax"}
                value[gone] = 0.0 if first else 1.0

    def evaluate(self, model: nn.Module, optimizer: optim.Optimizer, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(4, 5, generator=generator), torch.randn(4, 3, generator=generator)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        if seed % 2:
            nn.utils.clip_grad_norm_(in_order(model), 0.1)
        return loss

    def step(self, seed: int) -> None:
        for model, optimizer in zip((self.ours, self.theirs), self.optimizers, strict=True):
            optimizer.step(lambda m=model, o=optimizer: self.evaluate(m, o, seed))

    def check(self) -> None:
        for layer in LAYERS:
            ours, theirs = self.ours.get_submodule(layer), self.theirs.get_submodule(layer)
            masked = theirs.weight_orig * theirs.weight_mask
            kept = theirs.weight_mask.bool()
            assert torch.equal(words(ours.weight)[kept], words(masked)[kept])
            assert not words(ours.weight)[~kept].any()  # +0.0, where the oracle's may be -0.0
            if ours.bias is not None:
                assert torch.equal(words(ours.bias), words(theirs.bias))


def comparable(kind: type[optim.Optimizer]) -> list[Configuration]:
    return [one for one in configurations(kind) + livelier(kind) if one.takes_dense]


def test_only_what_takes_no_dense_gradients_has_nothing_to_compare():
    assert [kind for kind in kinds() if not comparable(kind)] == [optim.SparseAdam]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", [k for k in kinds() if k not in APART], ids=lambda k: k.__name__)
def test_pruned_and_asleep_train_alike(kind, figures):
    """Weight decay moves what prune keeps under a mask, and nobody sees it."""
    every = comparable(kind)
    steps = pruned = 0
    for number in range(SEQUENCES):
        draw = random.Random(f"{kind.__name__} {number}")
        twins = Twins(every[number % len(every)])
        twins.step(0)
        for _ in range(draw.randint(4, 12)):
            if draw.random() < 0.3:
                twins.prune(draw)
                pruned += 1
            else:
                twins.step(draw.randrange(1000))
                steps += 1
            twins.check()
    figures(sequences=SEQUENCES, steps=steps, prunings=pruned)
