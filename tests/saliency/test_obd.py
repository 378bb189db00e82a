"""Optimal Brain Damage and second-order Taylor: what they predict, and where it is a theorem."""

import pytest
import torch
from torch import nn

from saliency import (
    OBD,
    Fisher,
    GaussNewtonDiagonal,
    HessianDiagonal,
    Negative,
    Problem,
    SecondOrderTaylor,
    Signals,
)

F64 = torch.float64


def signals_of(problem, request, **more):
    weights = {n: p.detach() for n, p in problem.params.items()}
    return Signals(weights=weights, curvature=request(problem), **more)


@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_obd_against_the_dense_hessian(make_problem, dense_hessian, loss):
    problem = make_problem("mlp-relu", loss)
    h = dense_hessian(problem).diagonal()
    w = torch.cat([p.detach().flatten() for p in problem.params.values()])
    for request in (HessianDiagonal(), GaussNewtonDiagonal()):
        scores = OBD(request).score(signals_of(problem, request))
        found = torch.cat([s.flatten() for s in scores.values()])
        torch.testing.assert_close(found, h * w.square() / 2, rtol=1e-8, atol=1e-14)


def test_second_order_taylor_is_exact_for_one_weight_of_a_quadratic(make_problem, loss_at):
    # A linear layer under a squared error, away from its minimum.
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    batch = (torch.randn(5, 3, dtype=F64), torch.randn(5, 2, dtype=F64))
    problem = Problem(model, dict(model.named_parameters()), [batch], nn.MSELoss())
    params = {n: p.detach() for n, p in model.named_parameters()}
    loss = nn.MSELoss()(model(batch[0]), batch[1])
    grads = dict(zip(params, torch.autograd.grad(loss, list(model.parameters())), strict=True))
    signals = signals_of(problem, HessianDiagonal(), grads=grads)
    scores = SecondOrderTaylor().score(signals)
    for name, p in params.items():
        for i in range(p.numel()):
            less = {n: t.clone() for n, t in params.items()}
            less[name].view(-1)[i] = 0
            change = loss_at(problem, less) - float(loss.detach())
            assert float(scores[name].view(-1)[i]) == pytest.approx(change, rel=1e-8, abs=1e-12)
    # Without the gradient the prediction is wrong here; that is OBD's assumption.
    damage = OBD().score(signals)["weight"]
    assert not torch.allclose(damage, scores["weight"], rtol=0.1)


def test_negative_entries_are_never_made_positive_in_silence():
    signals = Signals(
        weights={"w": torch.tensor([2.0, 2.0])}, curvature={"w": torch.tensor([-3.0, 1.0])}
    )
    assert OBD().score(signals)["w"].tolist() == [-6.0, 2.0]
    assert OBD(negative=Negative.CLAMP).score(signals)["w"].tolist() == [0.0, 2.0]
    refusing = OBD(negative=Negative.REFUSE)
    with pytest.raises(ValueError, match=r"1 of 2 entries .*'w' are negative, down to -3"):
        refusing.score(signals)


def test_a_real_hessian_has_negative_entries_off_its_minimum(make_problem):
    found = HessianDiagonal()(make_problem("mlp-tanh"))
    assert any(bool((h < 0).any()) for h in found.values())


def test_fisher_is_half_the_mean_of_squared_single_taylor_terms(make_problem, fisher_rows):
    problem = make_problem("mlp-tanh")
    w = torch.cat([p.detach().flatten() for p in problem.params.values()])
    terms = (fisher_rows(problem) * w).square().mean(0) / 2
    scores = Fisher().score(signals_of(problem, Fisher().curvature))
    found = torch.cat([s.flatten() for s in scores.values()])
    torch.testing.assert_close(found, terms, rtol=1e-8, atol=1e-14)
    # Not the square of the mean gradient, which is far smaller.
    mean = (fisher_rows(problem).mean(0) * w).square() / 2
    assert float(found.sum()) > 2 * float(mean.sum())
