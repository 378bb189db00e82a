"""Masks written by hand: a bit of each weight, and one of the node that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .networks import DIMS, NODES

KINDS = ("asleep", "frozen")


def copied(whole: Any) -> Any:
    """The same in memory of its own; faster than a deep copy."""
    if isinstance(whole, Tensor):
        return whole.detach().clone()
    if isinstance(whole, dict):
        return {key: copied(value) for key, value in whole.items()}
    if isinstance(whole, list):
        return [copied(value) for value in whole]
    if isinstance(whole, tuple):
        return tuple(copied(value) for value in whole)
    return Masks(copied(whole.weights), copied(whole.nodes)) if isinstance(whole, Masks) else whole


def spread(nodes: Tensor, name: str, like: Tensor) -> Tensor:
    """What belongs to the nodes in one parameter."""
    if name not in DIMS:
        return torch.zeros(like.shape, dtype=torch.bool)
    shape = [1] * like.dim()
    shape[DIMS[name]] = NODES
    return nodes.view(shape).expand(like.shape)


@dataclass
class Masks:
    """What sleeps and what is frozen: by weight, and by node."""

    weights: dict[str, dict[str, Tensor]]
    nodes: dict[str, Tensor] = field(
        default_factory=lambda: {kind: torch.zeros(NODES, dtype=torch.bool) for kind in KINDS}
    )

    def of(self, kind: str, name: str) -> Tensor:
        """Where `kind` holds, through either layer."""
        own = self.weights[kind][name]
        return own | spread(self.nodes[kind], name, own)

    def still(self, name: str) -> Tensor:
        """Where nothing trains."""
        return self.of("asleep", name) | self.of("frozen", name)


@dataclass(frozen=True)
class Waking:
    """What a weight that wakes is worth, and what optimizer state it gets."""

    value: str = "parked"
    outgoing: str = "parked"
    state: str = "keep"
