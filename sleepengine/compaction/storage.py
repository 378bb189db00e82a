"""The one place that gives a live tensor another storage; it stays the same object."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn


def put_storage(tensor: Tensor, values: Tensor) -> None:
    """Let `tensor` hold `values`, of whatever shape; hooks, identity and `requires_grad` stay.

    Assigning `.data` is what moves modules between devices, and the only way to give a Parameter
    another shape while it stays the same object. A graph that is still alive (a loss that the loop
    keeps until the next one) holds the node that accumulates the gradient of the old shape, and
    the next backward would be refused there. That node is renewed when the type changes, so the
    type changes for a moment. The version is raised, so that backward through an old graph that
    saved this tensor is an error and never a wrong number.

    >>> w = nn.Parameter(torch.ones(3, 2))
    >>> put_storage(w, torch.zeros(1, 2))
    >>> w.shape, w.requires_grad
    (torch.Size([1, 2]), True)
    """
    if tensor.requires_grad:
        other = torch.float16 if tensor.dtype != torch.float16 else torch.float32
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = values
    torch.autograd.graph.increment_version(tensor)


@final
class Place(NamedTuple):
    """One place where a model holds a tensor."""

    path: str
    module: nn.Module
    attribute: str


def places(model: nn.Module) -> dict[int, list[Place]]:
    """Id of a parameter or buffer -> every place that holds it (several where it is tied)."""
    found: dict[int, list[Place]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        held: dict[str, Any] = {**module._parameters, **module._buffers}
        for attribute, tensor in held.items():
            if tensor is not None:
                found.setdefault(id(tensor), []).append(Place(path, module, attribute))
    return found
