"""Small frozen networks and data that the tests of learned masks share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def frozen_net() -> Callable[..., nn.Sequential]:
    """Linear 4-5, Tanh, Linear 5-3: float64, frozen, in eval mode, the same at every call."""

    def build(*layers: nn.Module) -> nn.Sequential:
        net = (
            nn.Sequential(*layers)
            if layers
            else nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        )
        net.double()
        drawn = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=drawn, dtype=torch.float64))
        return net.requires_grad_(False).eval()

    return build


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Eight samples for the network, with classes."""
    drawn = torch.Generator().manual_seed(4)
    x = torch.randn(8, 4, generator=drawn, dtype=torch.float64)
    return x, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


@pytest.fixture
def bits() -> Callable[[nn.Module], dict[str, bytes]]:
    """The bytes of every parameter and buffer."""

    def read(model: nn.Module) -> dict[str, bytes]:
        tensors = [*model.named_parameters(), *model.named_buffers()]
        return {name: t.detach().numpy().tobytes() for name, t in tensors}

    return read
