"""Which engine holds a parameter is written on it: its hooks, and those of its optimizer."""

from __future__ import annotations

from collections.abc import Iterator

from sleepengine.actions.live import Live
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.enforcement.watched import Watched
from sleepengine.errors import SetupError


def refuse_others(live: Live) -> None:
    """Two engines on one parameter would undo each other's work.

    Raises:
        SetupError: another engine is attached to a parameter, or to its optimizer.
    """
    names = {id(parameter): name for name, parameter in live.params.items()}
    held = [n for n, p in live.params.items() if any(isinstance(h, Watched) for h in _hooks(p))]
    for optimizer in live.optimizers:
        if any(_shows(hook) for hook in optimizer._optimizer_state_dict_post_hooks.values()):
            own = (p for group in optimizer.param_groups for p in group["params"])
            held += [names[id(p)] for p in own if id(p) in names]
    if held:
        shown = ", ".join(dict.fromkeys(held[:5]))
        raise SetupError(
            f"another engine is attached to {shown}: detach() it first, or give one engine all of "
            "the rules"
        )


def _hooks(parameter: object) -> Iterator[object]:
    yield from (getattr(parameter, "_post_accumulate_grad_hooks", None) or {}).values()


def _shows(hook: object) -> bool:
    return isinstance(getattr(hook, "__self__", None), OptimizerState)
