"""Small problems in float64, and slow references that share no code with the package."""

import pytest
import torch
from torch import nn

from saliency import Problem


def flat_loss(problem):
    """(loss of one vector of all parameters, that vector): plain autograd, one batch a time."""
    names = list(problem.params)
    shapes = [problem.params[n].shape for n in names]
    start = torch.cat([problem.params[n].detach().flatten() for n in names])

    def loss(vector):
        parts = vector.split([s.numel() for s in shapes])
        params = {n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        total, count = 0.0, 0
        for x, y in problem.batches:
            buffers = {n: b.clone() for n, b in problem.model.named_buffers()}
            out = torch.func.functional_call(problem.model, {**params, **buffers}, (x,))
            total = total + problem.loss(out, y) * len(y)
            count += len(y)
        return total / count

    return loss, start


@pytest.fixture
def dense_hessian():
    """problem -> H [size, size] by the textbook double loop of autograd."""

    def hessian(problem):
        loss, start = flat_loss(problem)
        return torch.autograd.functional.hessian(loss, start)

    return hessian


@pytest.fixture
def loss_at():
    """(problem, params) -> loss with these parameters in place of the problem's."""

    def at(problem, params):
        loss, _ = flat_loss(problem)
        return float(loss(torch.cat([params[n].flatten() for n in problem.params])))

    return at


@pytest.fixture
def fisher_rows():
    """problem -> gradients [samples, size], one backward pass per sample."""

    def rows(problem):
        found = []
        for x, y in problem.batches:
            for i in range(len(y)):
                alone = Problem(
                    problem.model, problem.params, [(x[i : i + 1], y[i : i + 1])], problem.loss
                )
                loss, start = flat_loss(alone)
                start = start.requires_grad_()
                found.append(torch.autograd.grad(loss(start), start)[0])
        return torch.stack(found)

    return rows


class Twice(nn.Module):
    """One weight used in two layers."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


def mlp(activation):
    return nn.Sequential(nn.Linear(4, 5), activation(), nn.Linear(5, 3))


def conv(activation):
    return nn.Sequential(
        nn.Conv2d(2, 2, 2, padding=1), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )


def normed(activation):
    return nn.Sequential(
        nn.Conv2d(2, 2, 2), nn.BatchNorm2d(2), activation(), nn.Flatten(), nn.Linear(18, 3)
    )


MODELS = {
    "mlp-tanh": lambda: mlp(nn.Tanh),
    "mlp-relu": lambda: mlp(nn.ReLU),
    "conv-tanh": lambda: conv(nn.Tanh),
    "conv-relu": lambda: conv(nn.ReLU),
    "norm-eval": lambda: normed(nn.ReLU).eval(),
    "norm-train": lambda: normed(nn.Tanh),
    "tied": Twice,
}
LOSSES = {"ce": nn.CrossEntropyLoss, "mse": nn.MSELoss}


@pytest.fixture
def make_problem():
    """(model name, loss name) -> a problem of 4 + 3 samples in float64."""

    def make(model="mlp-tanh", loss="ce", **options):
        torch.manual_seed(3)
        net = MODELS[model]().double()
        if model.startswith("norm"):
            for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
        shape = {"m": (4,), "t": (3,)}.get(model[0], (2, 4, 4))
        shape = (2, 4, 4) if model.startswith(("conv", "norm")) else shape
        if model.startswith("conv"):
            shape = (2, 3, 3)
        batches = []
        for size in (4, 3):
            x = torch.randn(size, *shape, dtype=torch.float64)
            y = torch.randint(0, 3, (size,)) if loss == "ce" else torch.randn(size, 3).double()
            batches.append((x, y))
        params = dict(net.named_parameters())
        return Problem(net, params, batches, LOSSES[loss](), **options)

    return make
