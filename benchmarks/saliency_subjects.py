"""What the time and memory of curvature and scores are measured on, and next to what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import saliency as sal
from saliency import Scorer, Signals
from saliency.curvature.rows import GaussNewtonColumns

Action = Callable[[], Any]
FISHER_BLOCKS = sal.InverseFisher(block=50, damping=1e-4)
DENSE = sal.InverseFisher(damping=1e-4)


def network(weights: int) -> nn.Module:
    """64 inputs, two hidden layers of equal width, 10 outputs, ReLU: about so many weights."""
    width = max(1, round(((74**2 + 4 * weights) ** 0.5 - 74) / 2))
    layers = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@dataclass
class Subject:
    """A network, random samples, and the signals that scorers have asked for."""

    weights: int
    samples: int
    found: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model = network(self.weights).eval()
        self.params = {n: p for n, p in self.model.named_parameters() if p.dim() > 1}
        self.size = sum(p.numel() for p in self.params.values())
        x, y = torch.randn(self.samples, 64), torch.randint(0, 10, (self.samples,))
        self.batches = list(zip(x.split(128), y.split(128), strict=True))
        self.problem = sal.Problem(self.model, self.params, self.batches, cross_entropy)

    def gradient(self) -> dict[str, Tensor]:
        """Of the mean loss: what everything else may be compared with."""
        total = {n: torch.zeros_like(p) for n, p in self.params.items()}
        for x, y in self.batches:
            loss = cross_entropy(self.model(x), y)
            grads = torch.autograd.grad(loss, list(self.params.values()))
            for sum_, grad in zip(total.values(), grads, strict=True):
                sum_ += grad * (len(y) / self.samples)
        return total

    def signals(self, scorer: Scorer) -> Signals:
        """What the scorer needs; measured once."""
        for need in scorer.needs - {"weights"}:
            if (key := self.key(need, scorer)) in self.found:
                continue
            if need == "grads":
                self.found[key] = self.gradient()
            elif need == "curvature":
                assert scorer.curvature is not None
                self.found[key] = scorer.curvature(self.problem)
            else:
                assert scorer.activations is not None
                self.found[key] = sal.gather(
                    self.model, self.params, scorer.activations, self.batches
                )
        held = {n: self.found[self.key(n, scorer)] for n in scorer.needs - {"weights"}}
        return Signals(weights={n: p.detach() for n, p in self.params.items()}, **held)

    @staticmethod
    def key(need: str, scorer: Scorer) -> str:
        own = {"curvature": scorer.curvature, "activations": scorer.activations}
        return f"{need} {own.get(need)!r}"


@dataclass(frozen=True)
class Item:
    """Something to measure, up to a number of weights; `prepare` gives the timed part."""

    name: str
    prepare: Callable[[Subject], Action]
    most: int = 1_000_000


def request(name: str, asked: Callable[[sal.Problem], object], most: int = 1_000_000) -> Item:
    return Item(name, lambda s: lambda: asked(s.problem), most)


def scorer(name: str, make: Callable[[], Scorer], most: int = 1_000_000) -> Item:
    def prepare(subject: Subject) -> Action:
        one = make()
        signals = subject.signals(one)
        return lambda: one.score(signals)

    return Item(name, prepare, most)


def half_update(subject: Subject) -> Action:
    """The survivors' update after half of all weights are chosen."""
    one = sal.OBS(FISHER_BLOCKS)
    signals = subject.signals(one)
    scores = one.score(signals)
    middle = torch.cat([s.flatten() for s in scores.values()]).median()
    chosen = {n: s <= middle for n, s in scores.items()}
    return lambda: one.compensate(chosen, signals)


def inputs(name: str, asked: sal.ActivationRequest) -> Item:
    return Item(name, lambda s: lambda: sal.gather(s.model, s.params, asked, s.batches))


def _product(problem: sal.Problem) -> object:
    vector = {n: torch.ones_like(p) for n, p in problem.params.items()}
    return sal.hessian_vector_product(problem, vector)


CURVATURE = (
    Item("gradient, for comparison", lambda s: s.gradient),
    request("hessian_vector_product", _product),
    request("HessianDiagonal()", sal.HessianDiagonal(), 10_000),
    request("GaussNewtonDiagonal()", sal.GaussNewtonDiagonal()),
    request("FisherDiagonal()", sal.FisherDiagonal()),
    request("Hutchinson(probes=10)", sal.Hutchinson(probes=10, chunk=10)),
    request("KFAC()", sal.KFAC()),
    request("InverseFisher(), dense", DENSE, 1_000),
    request("InverseFisher(block=50)", FISHER_BLOCKS),
    request("InverseHessian(), dense", sal.InverseHessian(damping=10.0), 1_000),
    request(
        "InverseFisher(GaussNewtonColumns(), block=50)",
        sal.InverseFisher(block=50, rows=GaussNewtonColumns()),
        100_000,
    ),
    request("Woodbury(count=64)", sal.Woodbury(count=64)),
    request("HessianGradient()", sal.HessianGradient()),
    request("SynapticFlow()", sal.SynapticFlow()),
    inputs("InputMoment()", sal.InputMoment()),
    inputs("InputGram()", sal.InputGram()),
)

SCORERS = (
    scorer("Random()", lambda: sal.Random(0)),
    scorer("Magnitude()", sal.Magnitude),
    scorer("Taylor()", sal.Taylor),
    scorer("Snip()", sal.Snip),
    scorer("Movement()", sal.Movement),
    scorer("SoftMovement()", sal.SoftMovement),
    scorer("OBD()", lambda: sal.OBD(sal.GaussNewtonDiagonal())),
    scorer("SecondOrderTaylor()", lambda: sal.SecondOrderTaylor(sal.GaussNewtonDiagonal())),
    scorer("Fisher()", sal.Fisher),
    scorer("GraSP()", sal.GraSP),
    scorer("SynFlow()", sal.SynFlow),
    scorer("Wanda()", sal.Wanda),
    scorer("MeanActivation()", sal.MeanActivation),
    scorer("SparseGPT()", lambda: sal.SparseGPT(fraction=0.5)),
    scorer("ExactOBS()", sal.ExactOBS, 100_000),
    scorer("OBS(), dense", lambda: sal.OBS(DENSE), 1_000),
    scorer("OBS(), blocks of 50", lambda: sal.OBS(FISHER_BLOCKS)),
    Item("OBS().compensate, blocks of 50", half_update),
    scorer("OBS(), Woodbury", lambda: sal.OBS(sal.Woodbury(count=64))),
    scorer("SequentialOBS(), dense", lambda: sal.SequentialOBS(DENSE), 1_000),
    scorer("SequentialOBS(), blocks of 50", lambda: sal.SequentialOBS(FISHER_BLOCKS)),
    scorer(
        "CombinatorialOBS(), blocks of 50",
        lambda: sal.CombinatorialOBS(FISHER_BLOCKS, exchanges=20),
        100_000,
    ),
)
