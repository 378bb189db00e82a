"""Scorers next to what others offer for the same: both in one process, turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch_pruning as tp
from saliency_subjects import Action, Subject
from torch import Tensor
from torch.nn.functional import cross_entropy

import saliency as sal
from saliency import Signals

Clock = Callable[[], float]
Pair = tuple[Action, Action, str]  # ours, theirs, and how far the results agree


def paired(ours: Action, theirs: Action, turns: int, clock: Clock) -> list[float]:
    """Ratios ours / theirs; each turn of ours is divided by the mean of its two neighbours."""
    ours()
    before, ratios = _seconds(theirs, clock), []
    for _ in range(turns):
        now = _seconds(ours, clock)
        after = _seconds(theirs, clock)
        ratios.append(now / ((before + after) / 2))
        before = after
    return ratios


def _seconds(act: Action, clock: Clock) -> float:
    begun = clock()
    act()
    return clock() - begun


def torch_pruning(weights: int, samples: int) -> Pair:
    """Mean over a node of w^2 mean(g^2), g of single samples, for each hidden node."""
    subject = Subject(weights, samples)
    importance = tp.importance.GroupHessianImportance(normalizer=None)
    graph = tp.DependencyGraph().build_dependency(subject.model, torch.randn(1, 64))
    groups = list(graph.get_all_groups(ignored_layers=[subject.model[-1]]))

    def theirs() -> list[Tensor]:
        importance.zero_grad()
        for x, y in subject.batches:
            for loss in cross_entropy(subject.model(x), y, reduction="none"):
                subject.model.zero_grad()
                loss.backward(retain_graph=True)
                importance.accumulate_grad(subject.model)
        return [importance(group) for group in groups]

    weights = {n: p.detach() for n, p in subject.params.items()}

    def scored(problem: sal.Problem) -> list[Tensor]:
        signals = Signals(weights=weights, curvature=sal.FisherDiagonal()(problem))
        scores = sal.Fisher().score(signals)
        incoming, outgoing = [scores[f"{i}.weight"] for i in (0, 2)], ("2.weight", "4.weight")
        pairs = zip(incoming, (scores[name] for name in outgoing), strict=True)
        return [before.sum(1) + after.sum(0) for before, after in pairs]

    def ours() -> list[Tensor]:
        return scored(subject.problem)

    first = next(i for i, g in enumerate(groups) if g[0].dep.target.module is subject.model[0])
    x, y = subject.batches[-1]
    last = replace(subject.problem, batches=[(x[-1:], y[-1:])])
    said = [
        float(torch.corrcoef(torch.stack([theirs()[first], one[0]]))[0, 1])
        for one in (ours(), scored(last))
    ]
    subject.model.zero_grad()
    return (
        ours,
        theirs,
        (
            f"correlation over nodes {said[0]:.3f}; {said[1]:.3f} with the last sample alone, "
            f"which is what Torch-Pruning {tp.__version__} keeps"
        ),
    )


def plain_sparse_gpt(
    w: Tensor, gram: Tensor, fraction: float, size: int, damp: float
) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of Frantar and Alistarh 2023 (arXiv:2301.00774): (weights left, mask).

    Args:
        w: [rows, columns]; not changed.
        gram: Mean of x x' over the inputs.
        fraction: Share removed in each block.
        size: Columns per block.
        damp: Share of the mean diagonal that is added.
    """
    w, d = w.clone(), w.shape[1]
    h = gram + damp * gram.diagonal().mean() * torch.eye(d, dtype=gram.dtype)
    c = torch.linalg.cholesky(torch.linalg.inv(h), upper=True)
    mask = torch.zeros_like(w, dtype=torch.bool)
    for i in range(0, d, size):
        e = torch.zeros_like(w[:, i : i + size])
        for j in range(i, min(i + size, d)):
            if j == i:
                block = slice(i, i + size)
                errors = (w[:, block] / c.diagonal()[block]).square()
                order = errors.flatten().argsort()
                low = torch.zeros_like(order, dtype=torch.bool)
                low[order[: round(fraction * len(order))]] = True
                mask[:, block] = low.reshape(errors.shape)
            e[:, j - i] = torch.where(mask[:, j], w[:, j], 0.0) / c[j, j]
            w[:, j : i + size] -= e[:, j - i, None] * c[j, j : i + size]
        w[:, i + size :] -= e @ c[i : i + size, i + size :]
    return w.masked_fill(mask, 0.0), mask


def sparse_gpt(width: int, dtype: torch.dtype) -> Pair:
    """A square layer, half removed: mask and update. `dtype` is that of the plain form."""
    torch.manual_seed(0)
    x = torch.randn(4 * width, width) @ torch.randn(width, width) / width**0.5
    w, gram = torch.randn(width, width), (x.T @ x / len(x)).double()
    signals = Signals(weights={"w": w}, activations={"w": gram[None]})
    gpt = sal.SparseGPT(fraction=0.5)

    def ours() -> tuple[Tensor, Tensor]:
        scores = gpt.score(signals)["w"]
        mask = torch.zeros(scores.numel(), dtype=torch.bool)
        mask[scores.flatten().argsort(stable=True)[: scores.numel() // 2]] = True
        mask = mask.reshape(scores.shape)
        return (w + gpt.compensate({"w": mask}, signals)["w"]).masked_fill(mask, 0.0), mask

    def theirs() -> tuple[Tensor, Tensor]:
        return plain_sparse_gpt(w.to(dtype), gram.to(dtype), 0.5, 128, 0.01)

    (mine, a), (plain, b) = ours(), theirs()
    same = float((a == b).double().mean())
    errors = [float(((t.double() - w) @ gram * (t.double() - w)).sum()) for t in (mine, plain)]
    return ours, theirs, f"{same:.3%} of the mask equal, error ratio {errors[0] / errors[1]:.5f}"


PEERS: Mapping[str, Callable[[], Pair]] = {
    "Fisher() / Torch-Pruning GroupHessianImportance, 10k weights, 256 samples": (
        lambda: torch_pruning(10_000, 256)
    ),
    "Fisher() / Torch-Pruning GroupHessianImportance, 100k weights, 256 samples": (
        lambda: torch_pruning(100_000, 256)
    ),
    "SparseGPT() / algorithm as printed, float64, 1024 x 1024": (
        lambda: sparse_gpt(1024, torch.float64)
    ),
    "SparseGPT() / algorithm as printed, float32, 1024 x 1024": (
        lambda: sparse_gpt(1024, torch.float32)
    ),
}
