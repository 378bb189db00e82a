"""The gradient that waits for a step, at the entries that a transaction takes out of training."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn

from sleepengine.masks.parked import Parked


class PendingGradient:
    """Its values at `stopping` (packed bits), to be put back into the same gradient.

    A gradient that somebody wrote since (a backward pass, `zero_grad`, clipping) stays as it is.
    """

    def __init__(self, parameter: nn.Parameter, stopping: Tensor) -> None:
        grad = parameter.grad
        self._grad: weakref.ref[Tensor] | None = None
        self._version: int | None = None
        self._sparse: Tensor | None = None
        if grad is None:
            return
        self._grad = weakref.ref(grad)
        if grad.layout is not torch.strided:
            self._sparse = grad.detach().clone()
            return
        self._bits = stopping.to(grad.device)
        self._values = Parked(grad.shape, grad.dtype, device=grad.device)
        self._values.put(grad.detach(), self._bits)

    def masked(self) -> None:
        """The gradient was masked; another version from here on is a write by others."""
        grad = None if self._grad is None else self._grad()
        self._version = None if grad is None else grad._version

    def moved(self, old: Tensor, new: Tensor) -> None:
        """The gradient has another size now, and no other values where anything trains."""
        if self._grad is not None and self._grad() is old and self._version == old._version:
            self._grad, self._version = weakref.ref(new), new._version

    @torch.no_grad()
    def put_back(self) -> None:
        """Write the values back, if nobody else wrote."""
        grad = None if self._grad is None else self._grad()
        if grad is None or (self._version is not None and grad._version != self._version):
            return
        if self._sparse is not None:
            grad._values().copy_(self._sparse._values())
        else:
            self._values.fill_into(grad, self._bits)
