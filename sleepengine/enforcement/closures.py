"""Steps that make their own gradients, by a closure: what acts on gradients waits for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.enforcement.state_table import holds_history

StepArguments = tuple[tuple[Any, ...], dict[str, Any]]


def closure_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """The closure among the arguments of a step; the optimizer itself is the first of them."""
    found = args[1] if len(args) > 1 else kwargs.get("closure")
    return found if callable(found) else None


def with_closure(
    args: tuple[Any, ...], kwargs: dict[str, Any], closure: Callable[[], Any]
) -> StepArguments:
    """The arguments with another closure in its place."""
    if len(args) > 1:
        return (args[0], closure, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure}


def evaluates_often(optimizer: Optimizer) -> bool:
    """Whether a step evaluates its closure again and again, and remembers what it saw."""
    return isinstance(optimizer, torch.optim.LBFGS) or any(
        holds_history(state) for state in optimizer.state.values()
    )


@final
class Closures:
    """`optimizer.step(closure)`: acts once the closure has left gradients the first time.

    A step whose gradients are there when it begins (a closure that was called before, or one that
    is for a second point, as in SAM) needs no waiting.
    """

    def __init__(self) -> None:
        self._left: dict[int, list[tuple[weakref.ref[Tensor], int]]] = {}

    def postponed(
        self,
        optimizer: Optimizer,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        act: Callable[[], object],
    ) -> StepArguments | None:
        """Arguments of a step that calls `act` after its first evaluation; None: act now."""
        closure = closure_of(args, kwargs)
        if closure is None or self._arrived(optimizer):
            return None
        self._left[id(optimizer)] = []
        waiting = True

        def evaluated() -> Any:
            nonlocal waiting
            with torch.enable_grad():
                loss = closure()
                if waiting:
                    waiting = False
                    if self._changed(optimizer, act) and evaluates_often(optimizer):
                        loss = closure()  # its line search compares losses of one network
            return loss

        return with_closure(args, kwargs, evaluated)

    def done(self, optimizer: Optimizer) -> None:
        """A step is over: note the gradients that its closure left, to tell new ones."""
        if id(optimizer) in self._left:
            grads = [(weakref.ref(grad), grad._version) for grad in _gradients(optimizer)]
            self._left[id(optimizer)] = grads

    def _arrived(self, optimizer: Optimizer) -> bool:
        """Whether a backward pass left a gradient since the last step with a closure."""
        left = {id(ref()): version for ref, version in self._left.get(id(optimizer), [])}
        return any(
            left.get(id(grad)) != grad._version and bool(_values(grad).count_nonzero())
            for grad in _gradients(optimizer)
        )

    def _changed(self, optimizer: Optimizer, act: Callable[[], object]) -> bool:
        """Act, and say whether a parameter was written."""
        before = [param._version for param in _params(optimizer)]
        history = dict(optimizer.state)
        act()
        if history and not optimizer.state:
            # Forgotten because entries sleep or wake; but the step under way holds these dicts.
            for param, state in history.items():
                zeros = {key: 0 for key, value in state.items() if type(value) is int}
                state.clear()
                state.update(zeros)
                optimizer.state[param] = state
        return before != [param._version for param in _params(optimizer)]


def _params(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _gradients(optimizer: Optimizer) -> Iterator[Tensor]:
    return (param.grad for param in _params(optimizer) if param.grad is not None)


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad
