"""The begin of a step in a plain loop: the first gradient that a backward pass leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


class FirstGradient:
    """Calls `act` when the next backward pass reaches a parameter of the optimizers, once.

    The forward pass would be earlier, but an evaluation between two epochs has one too.
    """

    def __init__(self, optimizers: Sequence[Optimizer], act: Callable[[], None]) -> None:
        self._optimizers = optimizers
        self._act = act
        self._handles: list[RemovableHandle] = []

    def watch(self) -> None:
        """Hook every parameter, until the first gradient or `forget`."""
        if self._handles:
            return
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                self._handles += [
                    parameter.register_post_accumulate_grad_hook(self._arrived)
                    for parameter in group["params"]
                    if parameter.requires_grad
                ]

    def forget(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _arrived(self, _: Tensor) -> None:
        if self._handles:
            self.forget()
            self._act()
