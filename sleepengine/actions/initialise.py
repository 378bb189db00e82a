"""Fresh values: a new draw by the layer's own initialiser, without touching the random state."""

from __future__ import annotations

import copy
import hashlib
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from sleepengine.actions.live import Initialiser, Live
from sleepengine.errors import SetupError
from sleepengine.names import owner


def derived_seed(seed: int, event: int, name: str) -> int:
    """A 63-bit seed that is a pure function of (seed, event, name).

    >>> derived_seed(0, 1, "fc1") == derived_seed(0, 1, "fc1") != derived_seed(0, 2, "fc1")
    True
    """
    digest = hashlib.sha256(f"{seed}/{event}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _own_initialiser(module: nn.Module) -> str | None:
    for attribute in ("reset_parameters", "_reset_parameters"):
        if callable(getattr(module, attribute, None)):
            return attribute
    return None


def _given_initialiser(live: Live, name: str) -> Initialiser | None:
    for pattern, initialiser in live.initialisers.items():
        if fnmatchcase(name, pattern):
            return initialiser
    return None


def check_initialiser(live: Live, name: str) -> str | None:
    """Why `name` cannot be drawn afresh, or None when it can."""
    if _given_initialiser(live, name) is not None:
        return None
    module, _ = owner(live.model, name)
    if _own_initialiser(module) is None:
        return (
            f"{name}: {type(module).__name__} has no reset_parameters(); "
            f"give initialisers={{{name!r}: fn}}"
        )
    return None


def fresh_values(live: Live, name: str) -> Tensor:
    """A new draw for the parameter `name`, a pure function of (seed, event, layer).

    The layer's weight and bias come from one and the same draw, as at construction. The
    global random state is put back.

    Raises:
        SetupError: if the layer has no initialiser and none was given.
    """
    problem = check_initialiser(live, name)
    if problem is not None:
        raise SetupError(problem)
    parameter = live.params[name]
    layer = name.rpartition(".")[0]
    devices = [parameter.device] if parameter.device.type == "cuda" else []
    given = _given_initialiser(live, name)
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed(derived_seed(live.seed, live.event, layer))
        if given is not None:
            drawn = torch.empty_like(parameter)
            given(drawn)
            return drawn
        module, attribute = owner(live.model, name)
        twin = copy.deepcopy(module)
        getattr(twin, str(_own_initialiser(twin)))()
        value: Tensor = getattr(twin, attribute).detach()
        return value
