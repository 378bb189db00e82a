"""Values of nodes that start again: running statistics as a new layer has them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.masks.choice import Choice


def fresh_statistics(live: Live, nodes: Choice) -> None:
    """running_mean = 0, running_var = 1 (what a new layer begins with) for these nodes."""
    for name, mask in live.nodes.statistics(nodes).items():
        live.held.write(name, mask, _first(live, name))


def _first(live: Live, name: str) -> Tensor:
    module, attribute = live.held.module(name)
    reset = getattr(module, "reset_running_stats", None)
    if not callable(reset):
        return torch.zeros_like(live.held.buffer(name))
    twin = copy.deepcopy(module)
    twin.reset_running_stats()  # type: ignore[operator]
    value: Tensor = getattr(twin, attribute)
    return value
