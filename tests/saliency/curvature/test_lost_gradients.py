"""Checkpoints of the older kind drop gradients: refused, never taken for zeros."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from saliency import (
    FisherDiagonal,
    GaussNewtonDiagonal,
    HessianDiagonal,
    HessianGradient,
    Hutchinson,
    InverseFisher,
    Problem,
)


class Saved(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(checkpoint(self.hidden, x, use_reentrant=True))


def problem():
    model = Saved()
    batch = (torch.randn(5, 4), torch.randn(5, 3))
    return Problem(model, dict(model.named_parameters()), [batch], nn.MSELoss())


@pytest.mark.parametrize(
    "request_",
    [HessianDiagonal(), HessianGradient(), Hutchinson(probes=2), InverseFisher()],
    ids=lambda r: type(r).__name__,
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_refused_with_the_remedy(request_):
    """Also where warnings are silenced."""
    with pytest.raises(ValueError, match=r"use_reentrant=True.*use_reentrant=False does"):
        request_(problem())


@pytest.mark.parametrize("request_", [FisherDiagonal(), GaussNewtonDiagonal()], ids=repr)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_never_zeros(request_):
    with pytest.raises((RuntimeError, ValueError)):
        request_(problem())
