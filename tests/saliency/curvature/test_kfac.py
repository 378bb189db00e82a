"""Kronecker factors: exact where theory says so, and against a naive patch loop."""

import pytest
import torch
from torch import nn

from saliency import KFAC, KFACDiagonal, Problem

F64 = torch.float64


def gauss_newton(problem, name):
    """J' (2 / C) J / N of a squared error, for one weight, by autograd."""
    p = problem.params[name].detach()
    total = 0.0
    for x, _ in problem.batches:
        for sample in x:

            def outputs(w, sample=sample):
                return torch.func.functional_call(problem.model, {name: w}, (sample[None],))[0]

            j = torch.autograd.functional.jacobian(outputs, p).flatten(1)
            total = total + 2 / len(j) * j.T @ j
    return total / problem.samples()


def test_exact_for_a_deep_linear_network_under_a_squared_error():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    batches = [(torch.randn(n, 3, dtype=F64), torch.randn(n, 2, dtype=F64)) for n in (5, 2)]
    weights = {n: p for n, p in model.named_parameters() if n.endswith("weight")}
    problem = Problem(model, weights, batches, nn.MSELoss())
    factors = KFAC()(problem)
    for name in weights:
        expected = gauss_newton(problem, name)
        torch.testing.assert_close(factors.dense(name), expected, rtol=1e-9, atol=1e-12)
        diagonal = KFACDiagonal()(problem)[name].flatten()
        torch.testing.assert_close(diagonal, expected.diagonal(), rtol=1e-9, atol=1e-12)
    v = {n: torch.randn(p.shape, dtype=F64) for n, p in weights.items()}
    for name, solved in factors.solve(v, damping=0.3).items():
        damped = factors.dense(name) + 0.3 * torch.eye(v[name].numel(), dtype=F64)
        torch.testing.assert_close(damped @ solved.flatten(), v[name].flatten())
        product = factors.times(v)[name].flatten()
        torch.testing.assert_close(product, factors.dense(name) @ v[name].flatten())


@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2}, {"dilation": 2}, {"padding": (0, 1)}]
)
def test_input_factor_of_a_convolution_is_the_sum_over_patches(options):
    torch.manual_seed(1)
    conv = nn.Conv2d(2, 3, (2, 3), bias=False, **options).double()
    x = torch.randn(2, 2, 5, 6, dtype=F64)
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten())
    size = model(x).shape[1]
    y = torch.zeros(2, size, dtype=F64)
    factors = KFAC()(Problem(model, {"0.weight": conv.weight}, [(x, y)], nn.MSELoss()))
    own = {k: options[k] for k in options}
    patches = nn.functional.unfold(x, (2, 3), **own).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(factors.inputs["0.weight"], patches.T @ patches / 2)


def test_every_hook_is_gone_afterwards_and_gradients_stay_none():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    batch = (torch.randn(3, 2), torch.tensor([0, 1, 0]))
    problem = Problem(model, {"0.weight": model[0].weight}, [batch], nn.CrossEntropyLoss())
    KFAC()(problem)
    assert not model[0]._forward_hooks
    assert model[0].weight.grad is None


def test_wrong_use():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    batch = (torch.randn(3, 2), torch.tensor([0, 1, 0]))
    for name in ("0.bias", "1.weight"):
        problem = Problem(model, {name: model.get_parameter(name)}, [batch], nn.CrossEntropyLoss())
        with pytest.raises(TypeError, match=f"'{name}' belongs to .*must be the weight of"):
            KFAC()(problem)
    same = nn.Linear(2, 2)
    twice = nn.Sequential(same, nn.ReLU(), same)
    problem = Problem(twice, {"0.weight": same.weight}, [batch], nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"'0\.weight' is used twice"):
        KFAC()(problem)
    assert not same._forward_hooks
