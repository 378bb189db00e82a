"""What an accumulating scorer remembers: one tensor per parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor


@final
class Running:
    """name -> one float tensor that outlives a step.

    >>> import torch
    >>> running = Running("Movement()")
    >>> running.put("w", torch.tensor([1.0, 2.0]))
    >>> running.get("w", like=torch.zeros(2))
    tensor([1., 2.])
    >>> running.get("v", like=torch.zeros(2)) is None
    True
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._values: dict[str, Tensor] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, like: Tensor) -> Tensor | None:
        """The tensor itself, moved to the device of `like`; None if nothing was put yet.

        Raises:
            ValueError: `like` has another shape.
        """
        value = self._values.get(name)
        if value is None:
            return None
        if value.shape != like.shape:
            raise ValueError(
                f"{self._owner} remembers {name!r} with shape {tuple(value.shape)}, but it now "
                f"has shape {tuple(like.shape)}. Call reset() to start anew."
            )
        return self.held(name, like.device)

    def held(self, name: str, device: torch.device) -> Tensor:
        """The tensor of a name that was put, moved to the device."""
        value = self._values[name]
        if value.device != device:
            # A loaded state lies on the device it was saved from.
            value = self._values[name] = value.to(device)
        return value

    def put(self, name: str, value: Tensor) -> None:
        """Remember `value`, which the caller gives away."""
        self._values[name] = value

    def items(self) -> list[tuple[str, Tensor]]:
        """Every name with the tensor itself."""
        return list(self._values.items())

    def reset(self) -> None:
        """Forget everything."""
        self._values.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """A copy by name."""
        return {name: value.clone() for name, value in self._values.items()}

    def load_state_dict(self, state: object) -> None:
        """Take over a copy of `state`, after checking it.

        Raises:
            ValueError: It is no dict of float tensors by name.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"{self._owner}: its values must be a dict, got {type(state)}.")
        for name, value in state.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise ValueError(f"{self._owner}: the entry {name!r} is not a tensor by name.")
            if not value.is_floating_point():
                raise ValueError(f"{self._owner}: the entry {name!r} has dtype {value.dtype}.")
        self._values = {name: value.detach().clone() for name, value in state.items()}


def check_keys(owner: str, state: Mapping[str, Any], keys: set[str]) -> None:
    """Raise ValueError unless a saved state has exactly these keys."""
    if set(state) != keys:
        raise ValueError(
            f"The state given to {owner} has the keys {sorted(map(str, state))}; "
            f"expected {sorted(keys)}."
        )


def lerp_in(running: Running, name: str, new: Tensor, decay: float) -> None:
    """Average in `new`: e <- decay e + (1 - decay) new, and e = new at first.

    Starting from the first value, not from 0, keeps parameters comparable that were first
    observed on different steps.

    >>> import torch
    >>> running = Running("Momentum()")
    >>> for g in (1.0, 2.0):
    ...     lerp_in(running, "w", torch.tensor([g]), decay=0.75)
    >>> running.get("w", like=torch.zeros(1))
    tensor([1.2500])
    """
    old = running.get(name, like=new)
    if old is None:
        running.put(name, new.clone())
    else:
        old.lerp_(new.to(old.dtype), 1 - decay)
