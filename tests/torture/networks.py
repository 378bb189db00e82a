"""Small networks whose every sum gives the same bits when sleeping nodes are cut out of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sleepengine.nodes import NodeGroup, Slice

SAMPLES = 2
"""A sum of two numbers is the same in either order, so batch and outputs have two each."""


class InOrder(nn.Linear):
    """A linear layer that adds one product after the other, so that zeros among them do nothing.

    Matrix products add in an order that depends on the sizes.
    """

    def forward(self, x: Tensor) -> Tensor:
        total = (x.unsqueeze(-2) * self.weight).cumsum(-1)[..., -1]
        return total if self.bias is None else total + self.bias


class Dense(nn.Module):
    """Tensors of at most 12 and 8 entries: too small for vector instructions, and their tails.

    Both round on their own, so that the place of an entry within its tensor would count.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.fc1, self.fc2 = InOrder(inputs, 4, bias=bias), InOrder(4, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.softsign(self.fc1(x)))


class Lookup(nn.Module):
    """Two tables with sparse gradients; a node is a column of both."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Embedding(5, 4, sparse=True)
        self.right = nn.Embedding(5, 4, sparse=True)

    def forward(self, rows: Tensor) -> Tensor:
        product = self.left(rows[:, 0]) * self.right(rows[:, 1])
        return product.cumsum(-1)[..., -1:]


NODES = 4
DIMS = {"fc1.weight": 0, "fc1.bias": 0, "fc2.weight": 1, "left.weight": 1, "right.weight": 1}
"""Along which dimension of a parameter the nodes lie."""


@dataclass(frozen=True)
class Network:
    """What kind of network, and its batches."""

    sparse: bool
    bias: bool
    dtype: torch.dtype
    inputs: int = 3
    outputs: int = 2
    factor: float = 1.0  # of the loss

    def build(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Lookup() if self.sparse else Dense(self.inputs, self.outputs, self.bias)
        with torch.no_grad():
            for param in model.parameters():  # what a frozen weight must keep, too
                param.view(-1)[1::3] = -0.0
        return model.to(self.dtype)

    def group(self) -> NodeGroup:
        if self.sparse:
            made, read = [Slice("left.weight", 1)], [Slice("right.weight", 1)]
            return NodeGroup("hidden", NODES, made, read)
        per_node = ["fc1.bias"] if self.bias else []
        return NodeGroup("hidden", NODES, [Slice("fc1.weight")], [Slice("fc2.weight", 1)], per_node)

    def batch(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if self.sparse:
            return torch.randint(5, (SAMPLES, 2), generator=generator)
        return torch.randn(SAMPLES, self.inputs, generator=generator).to(self.dtype)

    def loss(self, model: nn.Module, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed + 1)
        outputs: Tensor = model(self.batch(seed))
        wanted = torch.randn(outputs.shape, generator=generator).to(self.dtype)
        return ((outputs - wanted) ** 2).sum() * self.factor
