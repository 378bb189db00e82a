"""Small float64 problems of plain layers, of which the peers get a copy."""

import copy

import pytest
import torch
from torch import nn

from saliency import Problem

F64 = torch.float64
MODELS = {
    "relu": lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)),
    "tanh": lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
    "conv": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 2, padding=1), nn.Sigmoid(), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(2, 3)
    ),
}
LOSSES = {"ce": nn.CrossEntropyLoss, "mse": nn.MSELoss}


@pytest.fixture(params=[(m, loss) for m in MODELS for loss in LOSSES], ids="-".join)
def problem(request):
    """Two batches of 4 and 3 samples."""
    model, loss = request.param
    torch.manual_seed(5)
    net = MODELS[model]().double()
    shape = (1, 2, 2) if model == "conv" else (4,)
    batches = []
    for size in (4, 3):
        target = torch.randint(0, 3, (size,)) if loss == "ce" else torch.randn(size, 3, dtype=F64)
        batches.append((torch.randn(size, *shape, dtype=F64), target))
    return Problem(net, dict(net.named_parameters()), batches, LOSSES[loss]())


@pytest.fixture
def twin(problem):
    """A copy of the problem's model, for a peer that changes what it is given."""
    return copy.deepcopy(problem.model)
