"""Freeze and Thaw: the chosen weights keep their values to the bit while others train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@dataclass(frozen=True)
class Freeze(Action):
    """The chosen weights stay in the forward pass and are never updated; lowest score first.

    Picks among the weights that are awake and not frozen yet. Independent of sleep: a frozen
    weight that sleeps and wakes is frozen again.
    """

    event: ClassVar[str] = "FROZE"

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """Awake and not frozen."""
        return store.trainable(name)

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """The frozen."""
        return store.frozen(name)

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Freeze them."""
        return context.freeze(choice)


@dataclass(frozen=True)
class Thaw(Action):
    """Frozen weights train again, highest score first; momentum starts at zero."""

    event: ClassVar[str] = "THAWED"
    highest: ClassVar[bool] = True

    def eligible(self, store: MaskStore, name: str) -> Tensor:
        """The frozen."""
        frozen = store.frozen(name)
        if frozen is None:
            return torch.zeros(store.shape(name), dtype=torch.bool, device=store.device(name))
        return frozen

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """The frozen."""
        return store.frozen(name)

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Thaw them."""
        return context.thaw(choice)
