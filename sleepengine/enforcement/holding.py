"""Holding an optimizer's next step: gradients are taken away before it and put back after."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.enforcement.closures import closure_of, evaluates_often, with_closure
from sleepengine.errors import SetupError


@final
class HeldSteps:
    """Optimizers whose next step must change nothing.

    A step without gradients leaves parameters and state alone in every implementation (plain,
    foreach, fused), and the step counters do not advance. With a closure, the gradients are taken
    after the closure has made them.
    """

    def __init__(self) -> None:
        self.pending: set[int] = set()  # optimizers held; looked at in every step
        self._under_way: set[int] = set()
        self._grads: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def hold(self, optimizer: Optimizer) -> None:
        """The next step of the optimizer changes nothing.

        Raises:
            SetupError: LBFGS evaluates the closure inside the step and cannot do without it.
        """
        if evaluates_often(optimizer):
            raise SetupError(
                f"a step of {type(optimizer).__name__} cannot be held: it needs the gradients that "
                "it asks for inside the step; leave out skip_step"
            )
        self.pending.add(id(optimizer))

    def release(self, optimizer: Optimizer) -> None:
        """The next step counts again."""
        self.pending.discard(id(optimizer))

    def holds(self, optimizer: Optimizer) -> bool:
        """True when the next step of the optimizer, or the one under way, changes nothing."""
        return id(optimizer) in self.pending

    def before(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Take the gradients away; with a closure, return arguments whose closure does."""
        if not self.holds(optimizer):
            return None
        self._under_way.add(id(optimizer))
        self._take(optimizer)
        closure = closure_of(args, kwargs)
        if closure is None:
            return None

        def emptied() -> Any:
            self._put_back(optimizer)
            with torch.enable_grad():
                loss = closure()
            self._take(optimizer)
            return loss

        return with_closure(args, kwargs, emptied)

    def recover(self, optimizer: Optimizer) -> None:
        """A new step begins: what an interrupted one took away comes back, and it holds no more."""
        if id(optimizer) in self._under_way:
            self.after(optimizer)

    def after(self, optimizer: Optimizer) -> bool:
        """Put the gradients back; True when the step was held."""
        if not self.holds(optimizer):
            return False
        self._under_way.discard(id(optimizer))
        self._put_back(optimizer)
        self.release(optimizer)
        return True

    def _take(self, optimizer: Optimizer) -> None:
        taken = [
            (param, param.grad)
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        for param, _ in taken:
            param.grad = None
        self._grads[id(optimizer)] = taken

    def _put_back(self, optimizer: Optimizer) -> None:
        for param, grad in self._grads.pop(id(optimizer), []):
            if param.grad is None:
                param.grad = grad
