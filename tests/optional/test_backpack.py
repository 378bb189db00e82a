"""Diagonals and per-sample gradients next to BackPACK's, on a copy of the model."""

import pytest
import torch

from saliency import FisherDiagonal, GaussNewtonDiagonal, HessianDiagonal, InverseFisher

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # those of other people's code
]
backpack = pytest.importorskip("backpack", reason="make peers")
extensions = pytest.importorskip("backpack.extensions", reason="make peers")


def theirs(problem, twin, extension, read):
    """Name -> mean over all samples of what BackPACK leaves on the parameters of the twin."""
    model, loss = backpack.extend(twin), backpack.extend(type(problem.loss)())
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for x, y in problem.batches:
        model.zero_grad()
        with backpack.backpack(extension):
            loss(model(x), y).backward()
        for name, p in model.named_parameters():
            total[name] += read(p, len(x)) / problem.samples()
    return total


def same(ours, other):
    assert set(ours) == set(other)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-8, atol=1e-13)


def test_the_hessian_s_diagonal(problem, twin):
    other = theirs(problem, twin, extensions.DiagHessian(), lambda p, n: p.diag_h * n)
    same(HessianDiagonal()(problem), other)


def test_the_gauss_newton_diagonal(problem, twin):
    other = theirs(problem, twin, extensions.DiagGGNExact(), lambda p, n: p.diag_ggn_exact * n)
    same(GaussNewtonDiagonal()(problem), other)


def test_the_fisher_diagonal(problem, twin):
    # Their sample gradients are of the mean loss, 1 / n of those of the sample's own loss.
    other = theirs(
        problem, twin, extensions.BatchGrad(), lambda p, n: (p.grad_batch * n).square().sum(0)
    )
    same(FisherDiagonal()(problem), other)


def test_the_inverse_fisher(problem, twin):
    model, loss = backpack.extend(twin), backpack.extend(type(problem.loss)())
    rows = []
    for x, y in problem.batches:
        with backpack.backpack(extensions.BatchGrad()):
            loss(model(x), y).backward()
        rows.append(torch.cat([p.grad_batch.flatten(1) * len(x) for p in model.parameters()], 1))
    x = torch.cat(rows)
    damped = x.T @ x / len(x) + 0.01 * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.cat(list(InverseFisher(damping=0.01)(problem).values()))
    torch.testing.assert_close(found, torch.linalg.inv(damped), rtol=1e-8, atol=1e-10)
