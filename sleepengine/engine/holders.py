"""Which engine holds a parameter: one register, and hooks on parameters and optimizers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import final

from torch.utils.weak import WeakTensorKeyDictionary

from sleepengine.actions.live import Live
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.enforcement.watched import Watched
from sleepengine.errors import SetupError
from sleepengine.rules.rule import Rule

# Two engines that have nothing asleep yet leave no mark on a parameter, and share nothing else.
# Copies and pickles of a parameter are not in here, and what is gone leaves by itself.
_HELD = WeakTensorKeyDictionary()


@final
class Hold:
    """One engine's claim to parameters, from attach to detach.

    Raises:
        SetupError: another engine is attached to one of them, or to their optimizer.
    """

    def __init__(self, live: Live, rules: Sequence[Rule], names: Iterable[str]) -> None:
        kinds = ", ".join(type(one).__name__ for one in live.optimizers) or "no optimizer"
        self._said = f"{kinds}; rules: {', '.join(rule.name for rule in rules) or 'none'}"
        own = {id(p) for o in live.optimizers for group in o.param_groups for p in group["params"]}
        wanted = set(names)
        self._params = [p for n, p in live.params.items() if n in wanted or id(p) in own]
        refuse_others(live, self._others(live), self._said)
        for parameter in self._params:
            _HELD[parameter] = weakref.ref(self)

    def release(self) -> None:
        """Claim nothing any more."""
        for parameter in self._params:
            if parameter in _HELD and _HELD[parameter]() is self:
                del _HELD[parameter]

    def _others(self, live: Live) -> dict[str, str]:
        """Name -> who holds it, of the parameters wanted."""
        names = {id(parameter): name for name, parameter in live.params.items()}
        found: dict[str, str] = {}
        for parameter in self._params:
            holder = _HELD[parameter]() if parameter in _HELD else None
            if holder is not None:
                found[names[id(parameter)]] = holder._said
        return found


def refuse_others(live: Live, others: dict[str, str], said: str) -> None:
    """Two engines on one parameter would undo each other's work.

    Raises:
        SetupError: another engine is attached to a parameter, or to its optimizer.
    """
    names = {id(parameter): name for name, parameter in live.params.items()}
    held = list(others)
    held += [n for n, p in live.params.items() if any(isinstance(h, Watched) for h in _hooks(p))]
    for optimizer in live.optimizers:
        if any(_shows(hook) for hook in optimizer._optimizer_state_dict_post_hooks.values()):
            own = (p for group in optimizer.param_groups for p in group["params"])
            held += [names[id(p)] for p in own if id(p) in names]
    if held:
        shown = ", ".join(list(dict.fromkeys(held))[:5])
        other = f" ({next(iter(others.values()))})" if others else ""
        raise SetupError(
            f"another engine is attached to {shown}{other}; this one ({said}) would undo its work: "
            "detach() the other one first, or give one engine all of the rules"
        )


def _hooks(parameter: object) -> Iterator[object]:
    yield from (getattr(parameter, "_post_accumulate_grad_hooks", None) or {}).values()


def _shows(hook: object) -> bool:
    return isinstance(getattr(hook, "__self__", None), OptimizerState)
