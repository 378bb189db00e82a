"""What every curvature costs and tells: batches in memory, backward passes, progress."""

import weakref

import pytest
import torch
from torch import nn

from saliency import (
    KFAC,
    BatchGradients,
    FisherDiagonal,
    GaussNewtonColumns,
    GaussNewtonDiagonal,
    HessianDiagonal,
    HessianGradient,
    Hutchinson,
    InverseFisher,
    InverseHessian,
    Problem,
    Woodbury,
    hessian_vector_product,
)


def product(problem):
    return hessian_vector_product(
        problem, {n: torch.ones_like(p) for n, p in problem.params.items()}
    )


EVERY = [
    HessianDiagonal(chunk=5),
    GaussNewtonDiagonal(),
    FisherDiagonal(),
    FisherDiagonal(BatchGradients()),
    Hutchinson(probes=3),
    KFAC(),
    InverseFisher(),
    InverseFisher(block=3, rank=1),
    InverseFisher(rows=GaussNewtonColumns()),
    InverseHessian(damping=50.0),
    InverseHessian(block=3, damping=50.0),
    Woodbury(count=1000),
    HessianGradient(),
    product,
]


def said(ask):
    return "product" if ask is product else repr(ask)


class Fresh:
    """Batches that exist only while somebody holds them, and how many did at most."""

    def __init__(self, count):
        self.count, self.held, self.most = count, [], 0

    def __iter__(self):
        for i in range(self.count):
            generator = torch.Generator().manual_seed(i)
            x = torch.randn(2, 3, generator=generator)
            self.held = [r for r in self.held if r() is not None] + [weakref.ref(x)]
            self.most = max(self.most, len(self.held))
            yield x, torch.tensor([i % 2, 1])


def problem_of(batches, model=None, **more):
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    params = {n: p for n, p in model.named_parameters() if p.dim() > 1}
    return Problem(model, params, batches, nn.CrossEntropyLoss(), **more)


@pytest.mark.parametrize("ask", EVERY, ids=said)
def test_batches_are_held_one_at_a_time_whatever_their_number(ask):
    few, many = Fresh(4), Fresh(24)
    ask(problem_of(few)), ask(problem_of(many))
    assert few.most == many.most <= 3


@pytest.mark.parametrize(
    "ask", [a for a in EVERY if a not in (product, HessianGradient())], ids=said
)
def test_long_work_tells_how_far_it_is(ask):
    told = []
    problem = problem_of(Fresh(3), progress=lambda *one: told.append(one))
    ask(problem)
    assert len(told) > 1
    for what, done, total in told:
        assert isinstance(what, str)
        assert 0 <= done <= (total or done)
    last = {what: (done, total) for what, done, total in told}
    assert all(
        done == total or not total or isinstance(ask, Woodbury) for done, total in last.values()
    )


class Counted(nn.Sequential):
    """Counts the backward passes through its output."""

    passes = 0

    def forward(self, x):
        out = super().forward(x)
        if out.requires_grad:
            out.register_hook(self.count)
        return out

    def count(self, grad):
        self.passes += 1


@pytest.mark.parametrize("outputs", [2, 5])
def test_piecewise_linear_networks_take_a_backward_pass_per_output(outputs):
    model = Counted(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, outputs))
    GaussNewtonDiagonal()(problem_of(Fresh(3), model))
    assert model.passes == 3 * outputs
    FisherDiagonal()(problem_of(Fresh(3), model))
    assert model.passes == 3 * outputs + 3


@pytest.mark.parametrize("ask", EVERY[:12], ids=said)
def test_after_an_error_nothing_is_left_behind(ask):
    """The second batch makes the model fail in the middle of the work."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 2))
    model[0].eval()
    modes = [m.training for m in model.modules()]
    good = (torch.randn(2, 3), torch.tensor([0, 1]))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    problem = problem_of([good, (torch.randn(2, 5), torch.tensor([0, 1]))], model)
    state, mode = torch.get_rng_state(), torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        ask(problem)
    assert torch.equal(state, torch.get_rng_state())
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.is_grad_enabled() == mode
