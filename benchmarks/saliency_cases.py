"""Small trained networks, and the ways to choose what is removed from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import saliency as sal
from saliency import Scorer, Signals
from saliency.curvature.rows import GaussNewtonColumns
from sleepengine.choosing import Global, PerRow, PerTensor, Pools
from sleepengine.pipeline.problems.bundle import Split

DENSE = sal.InverseFisher(rows=GaussNewtonColumns(), damping=1e-4)
BLOCKS = sal.InverseFisher(rows=GaussNewtonColumns(), damping=1e-4, block=50)


@dataclass(frozen=True)
class Method:
    """A scorer for a share of the weights, its pools, and whether the survivors make up for it."""

    name: str
    scorer: Callable[[float], Scorer]
    pools: Pools
    update: bool = False
    again: bool = False  # whether the scorer has to know the share
    stages: int = 1  # removals of equal size, each with signals of what the one before left


GREEDY, JOINT, TWICE = "OBS, greedy exact", "OBS, joint set", "OBS, greedy, measured twice"

METHODS = (
    Method("random", lambda _: sal.Random(), Global()),
    Method("magnitude", lambda _: sal.Magnitude(), Global()),
    Method("magnitude, per layer", lambda _: sal.Magnitude(), PerTensor()),
    Method("Taylor", lambda _: sal.Taylor(), Global()),
    Method("Fisher", lambda _: sal.Fisher(), Global()),
    Method("OBD", lambda _: sal.OBD(sal.GaussNewtonDiagonal()), Global()),
    Method("OBS, all at once", lambda _: sal.OBS(DENSE), Global(), update=True),
    Method(GREEDY, lambda _: sal.SequentialOBS(DENSE), Global(), update=True),
    Method(TWICE, lambda _: sal.SequentialOBS(DENSE), Global(), update=True, stages=2),
    Method(
        JOINT,
        lambda share: sal.CombinatorialOBS(DENSE, fraction=share, exchanges=100),
        Global(),
        update=True,
        again=True,
    ),
    Method("block OBS (50)", lambda _: sal.SequentialOBS(BLOCKS), Global(), update=True),
    Method("ExactOBS", lambda _: sal.ExactOBS(), PerTensor(), update=True),
    Method(
        "SparseGPT",
        lambda share: sal.SparseGPT(fraction=share),
        PerTensor(),
        update=True,
        again=True,
    ),
    Method("Wanda", lambda _: sal.Wanda(), PerRow()),
)


@dataclass
class Trained:
    """A trained network with its data, and what was measured of it so far."""

    model: nn.Module
    train: Split
    test: Split
    batches: list[tuple[Tensor, Tensor]]
    found: dict[str, tuple[float, Mapping[str, Tensor]]] = field(default_factory=dict)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Of all layers; biases stay."""
        return {n: p for n, p in self.model.named_parameters() if p.dim() > 1}

    def signals(self, scorer: Scorer, asleep: Mapping[str, Tensor]) -> tuple[float, Signals]:
        """Seconds that measuring took, and what the scorer reads; kept while all are awake."""
        weights = {n: p.detach() for n, p in self.weights.items()}
        held: dict[str, Mapping[str, Tensor]] = {}
        taken = 0.0
        for need in sorted(scorer.needs - {"weights"}):
            key = f"{need}: {scorer.curvature if need == 'curvature' else scorer.activations}"
            if asleep or key not in self.found:
                begun = time.process_time()
                measured = self.measure(need, scorer)
                one = (time.process_time() - begun, measured)
                if not asleep:
                    self.found[key] = one
            else:
                one = self.found[key]
            taken, held[need] = taken + one[0], one[1]
        awake = {name: ~mask for name, mask in asleep.items()}
        return taken, Signals(
            weights=weights,
            grads=held.get("grads"),
            curvature=held.get("curvature"),
            activations=held.get("activations"),
            awake=awake,
        )

    def measure(self, need: str, scorer: Scorer) -> dict[str, Tensor]:
        """Of all training samples."""
        if need == "grads":
            loss = cross_entropy(self.model(self.train.x), self.train.y)
            grads = torch.autograd.grad(loss, list(self.weights.values()))
            return dict(zip(self.weights, grads, strict=True))
        if need == "activations":
            assert scorer.activations is not None
            return sal.gather(self.model, self.weights, scorer.activations, self.batches)
        assert scorer.curvature is not None
        problem = sal.Problem(self.model, self.weights, self.batches, cross_entropy)
        return scorer.curvature(problem)

    @torch.no_grad()
    def loss(self) -> tuple[float, float]:
        """Training loss and test accuracy in percent."""
        right = self.model(self.test.x).argmax(1) == self.test.y
        loss = cross_entropy(self.model(self.train.x), self.train.y)
        return float(loss), 100 * float(right.double().mean())


def mlp(shape: Sequence[int]) -> nn.Module:
    """Two hidden layers of 16."""
    size = shape[0] * shape[1] * shape[2]
    layers = [nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def conv(shape: Sequence[int]) -> nn.Module:
    """Two convolutions with pooling, and a linear layer."""
    side = shape[1] // 4
    return nn.Sequential(
        nn.Conv2d(shape[0], 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * side * side, 10),
    )


NETWORKS: Mapping[str, Callable[[Sequence[int]], nn.Module]] = {"mlp": mlp, "conv": conv}


def trained(
    make: Callable[..., nn.Module], train: Split, test: Split, seed: int, epochs: int
) -> Trained:
    """One network at the end of its training."""
    torch.manual_seed(seed)
    model = make(train.x.shape[1:])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    steps = epochs * -(-len(train.y) // 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for some in torch.randperm(len(train.y)).split(32):
            optimizer.zero_grad()
            cross_entropy(model(train.x[some]), train.y[some]).backward()
            optimizer.step()
            schedule.step()
    batches = list(zip(train.x.split(128), train.y.split(128), strict=True))
    return Trained(model.eval(), train, test, batches)
