"""Small networks in float64, and what the tests of nodes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sleepengine.nodes import NodeGroup, Slice


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)


@pytest.fixture
def mlp() -> nn.Sequential:
    """4 -> 6 -> 5 -> 3 with sigmoids, so that a bias of zero still gives 1/2."""
    layers = [nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)]
    return nn.Sequential(*layers).double()


@pytest.fixture
def mlp_groups() -> list[NodeGroup]:
    return [
        NodeGroup("0", 6, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias"]),
        NodeGroup("2", 5, [Slice("2.weight")], [Slice("4.weight", 1)], ["2.bias"]),
    ]


class Residual(nn.Module):
    """Convolutions with BatchNorm, an addition, and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 4, 3, padding=1)
        self.b1 = nn.BatchNorm2d(4)
        self.c2 = nn.Conv2d(4, 4, 3, padding=1)
        self.b2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b1(self.c1(x)).relu()
        x = x + self.b2(self.c2(x)).relu()
        return self.fc(x.flatten(1))


@pytest.fixture
def residual() -> Residual:
    net = Residual().double()
    with torch.no_grad():
        for norm in (net.b1, net.b2):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(0.1, 0.5)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    return net


@pytest.fixture
def residual_group() -> NodeGroup:
    return NodeGroup(
        "c1",
        4,
        [Slice("c1.weight"), Slice("c2.weight")],
        [Slice("c2.weight", 1), Slice("fc.weight", 1, 0, 4, 4)],
        ["c1.bias", "c2.bias", "b1.weight", "b1.bias", "b2.weight", "b2.bias"],
        ["b1.running_mean", "b1.running_var", "b2.running_mean", "b2.running_var"],
    )


@pytest.fixture
def train() -> Callable[..., None]:
    """Steps of a plain loop on random inputs of this shape."""

    def loop(model: nn.Module, optimizer: Any, shape: tuple[int, ...], steps: int = 8) -> None:
        model.train()
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randn(shape, dtype=torch.float64)).square().mean().backward()
            optimizer.step()

    return loop


def _cut(model: nn.Module, cuts: dict[str, tuple[tuple[int, list[int]], ...]]) -> nn.Module:
    """The model without these indices (dim, indices) of parameters and buffers."""
    for name, removals in cuts.items():
        owner, _, attribute = name.rpartition(".")
        module = model.get_submodule(owner)
        tensor = getattr(module, attribute).detach()
        for dim, gone in removals:
            kept = [i for i in range(tensor.shape[dim]) if i not in gone]
            tensor = tensor.index_select(dim, torch.tensor(kept)).contiguous()
        if attribute in module._parameters:
            setattr(module, attribute, nn.Parameter(tensor))
        else:
            setattr(module, attribute, tensor)
    return model


@pytest.fixture
def cut() -> Callable[..., nn.Module]:
    return _cut
