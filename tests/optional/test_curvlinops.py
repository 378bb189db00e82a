"""Whole curvature matrices next to curvlinops', on a copy of the model."""

import pytest
import torch

from saliency import (
    KFAC,
    GaussNewtonDiagonal,
    HessianDiagonal,
    InverseFisher,
    InverseHessian,
    Problem,
    hessian_vector_product,
)
from saliency.curvature.flat import Layout
from saliency.curvature.rows import GaussNewtonColumns

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore"),  # those of other people's code
]
curvlinops = pytest.importorskip("curvlinops", reason="make peers")


def dense(operator, problem, twin):
    """The matrix of one of their operators over all parameters in order."""
    params = list(twin.parameters())
    found = operator(twin, type(problem.loss)(), params, problem.batches)
    size = sum(p.numel() for p in params)
    return torch.as_tensor(found @ torch.eye(size, dtype=torch.float64))


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors.values()])


def inverse(tensors):
    return torch.cat(list(tensors.values()))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_the_hessian(problem, twin):
    h = dense(curvlinops.HessianLinearOperator, problem, twin)
    close(flat(HessianDiagonal()(problem)), h.diagonal())
    v = torch.randn(len(h), dtype=h.dtype)
    product = hessian_vector_product(problem, Layout.of(problem.params).named(v))
    close(flat(product), h @ v)
    damping = 0.1 - float(torch.linalg.eigvalsh(h).min())
    damped = h + damping * torch.eye(len(h), dtype=h.dtype)
    close(inverse(InverseHessian(damping=damping)(problem)), torch.linalg.inv(damped))


def test_the_gauss_newton_matrix(problem, twin):
    g = dense(curvlinops.GGNLinearOperator, problem, twin)
    close(flat(GaussNewtonDiagonal()(problem)), g.diagonal())
    found = InverseFisher(damping=0.1, rows=GaussNewtonColumns())(problem)
    close(inverse(found), torch.linalg.inv(g + 0.1 * torch.eye(len(g), dtype=g.dtype)))


def test_the_empirical_fisher(problem, twin):
    f = dense(curvlinops.EFLinearOperator, problem, twin)
    if isinstance(problem.loss, torch.nn.MSELoss):
        f /= 3  # theirs counts each of the three outputs as a loss of its own
    found = InverseFisher(damping=0.1)(problem)
    close(inverse(found), torch.linalg.inv(f + 0.1 * torch.eye(len(f), dtype=f.dtype)))


def test_kronecker_factors_of_linear_layers(problem, twin):
    names = [n for n, p in problem.params.items() if n.endswith("weight") and p.dim() == 2]
    weights = {n: problem.params[n] for n in names}
    factors = KFAC()(Problem(problem.model, weights, problem.batches, problem.loss))
    for name in names:
        theirs = curvlinops.KFACLinearOperator(
            twin,
            type(problem.loss)(),
            [twin.get_parameter(name)],
            problem.batches,
            fisher_type=curvlinops.FisherType.TYPE2,
            separate_weight_and_bias=True,
        )
        size = twin.get_parameter(name).numel()
        matrix = torch.as_tensor(theirs @ torch.eye(size, dtype=torch.float64))
        close(factors.dense(name), matrix)
