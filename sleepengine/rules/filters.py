"""Filters: which weights are eligible beside what the action asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from schedules import Clock
from schedules.time import Time
from sleepengine.errors import StateError
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


class Filter(ABC):
    """Which weights of a tensor are eligible; what it remembers is saved with its rule."""

    @abstractmethod
    def allows(self, store: MaskStore, name: str, clock: Clock) -> Tensor | None:
        """A bool tensor of the parameter's shape; None means all."""

    def check(self, clock: Clock) -> None:  # noqa: B027 - most have nothing to check
        """Raise at attach if the filter cannot work with this clock."""

    def changed(  # noqa: B027 - most remember nothing
        self, choice: Choice, clock: Clock, store: MaskStore
    ) -> None:
        """Told after every transaction which weights woke or were reset."""

    def restart(self) -> None:  # noqa: B027 - most remember nothing
        """Told when the clock goes back to before the first step."""

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, as plain values and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember it again."""
        if state:
            raise StateError(f"{self!r} has no state, but {sorted(state)} were given")


@dataclass(frozen=True)
class _Where(Filter):
    """A user's function of (name, shape) -> bool tensor or None."""

    function: Any

    def allows(self, store: MaskStore, name: str, clock: Clock) -> Tensor | None:
        mask = self.function(name, store.shape(name))
        if mask is not None and (mask.dtype != torch.bool or mask.shape != store.shape(name)):
            raise ValueError(
                f"where({self.function!r}) gave {mask.dtype} {tuple(mask.shape)} for {name}; "
                f"give a bool tensor of shape {tuple(store.shape(name))}"
            )
        return mask


def where(function: Any) -> Filter:
    """Eligible where `function(name, shape)` is True; None from it means all."""
    return _Where(function)


@dataclass(frozen=True, repr=False)
class OlderThan(Filter):
    """Eligible when the weight's last waking or reset is at least `age` ago (start counts).

    One int32 per weight is remembered, only for tensors in which something woke or was reset.
    Source: the maturity threshold of continual backprop (Dohare et al. 2024).
    """

    age: Time
    _since: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def __repr__(self) -> str:
        """As it is written."""
        return f"older_than('{self.age}')"

    def check(self, clock: Clock) -> None:
        """The age must be known in iterations."""
        self.age.iterations(clock)

    def allows(self, store: MaskStore, name: str, clock: Clock) -> Tensor | None:
        """Now - last change >= age."""
        age = self.age.iterations(clock)
        if name not in self._since:
            return None if clock.iteration >= age else torch.zeros(store.shape(name)).bool()
        return clock.iteration - self._since[name] >= age

    def changed(self, choice: Choice, clock: Clock, store: MaskStore) -> None:
        """Note the moment of change."""
        for name, mask in choice.masks.items():
            if name not in self._since:
                self._since[name] = torch.zeros(
                    store.shape(name), dtype=torch.int32, device=mask.device
                )
            self._since[name].masked_fill_(mask, clock.iteration)

    def restart(self) -> None:
        """Every weight is as old as the clock again."""
        self._since.clear()

    def state_dict(self) -> dict[str, Any]:
        """The moments of change."""
        return {name: since.clone() for name, since in self._since.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember the moments of change again."""
        self._since.clear()
        self._since.update({name: torch.clone(since) for name, since in state.items()})


def older_than(age: str) -> Filter:
    """Eligible when the weight woke or was reset at least `age` ago, such as "100it".

    >>> older_than("100it")
    older_than('100it')
    """
    return OlderThan(Time.parse(age))
