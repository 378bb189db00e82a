"""The hooks of an optimizer's own step, for plain and compiled steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sleepengine.enforcement.closures import StepArguments

Before = Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], StepArguments | None]
After = Callable[[Optimizer], None]


def hook_steps(
    optimizers: Sequence[Optimizer], before: Before, after: After
) -> list[RemovableHandle]:
    """Run `before` ahead of every step (it may replace the arguments) and `after` behind it."""
    # Tracing a compiled step must not follow the hooks; the engine of torch.compile is loaded
    # by the optimizers in any case, so this costs no import.
    untraced_before = torch.compiler.disable(before)
    untraced_after = torch.compiler.disable(after)

    def pre(
        optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> StepArguments | None:
        run = untraced_before if torch.compiler.is_compiling() else before
        return run(optimizer, args, kwargs)

    def post(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        run = untraced_after if torch.compiler.is_compiling() else after
        run(optimizer)

    handles: list[RemovableHandle] = []
    for optimizer in optimizers:
        handles += [
            optimizer.register_step_pre_hook(pre),
            optimizer.register_step_post_hook(post),
        ]
    return handles
