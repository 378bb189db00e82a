"""Sleep: the chosen weights contribute exactly zero, and their values are parked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.errors import SetupError
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@dataclass(frozen=True)
class Sleep(Action):
    """The chosen weights become +0.0, receive no gradient and keep no momentum.

    Picks among the weights that are awake and not frozen, lowest score first. With
    `include_frozen=True` frozen weights may fall asleep too (and are frozen again on waking).

    With `compensate=True` the survivors that may train make up for the sleepers, by the update
    that the rule's scorer gives (`ExactOBS`, `SparseGPT`, `OBS`, ...). Parked values are those of
    before. Waking does not take the update back; undo does.
    """

    include_frozen: bool = False
    compensate: bool = False
    event: ClassVar[str] = "SLEPT"
    empties: ClassVar[bool] = True

    @property
    def compensates(self) -> bool:
        """As it was built."""
        return self.compensate

    def check_nodes(self) -> None:
        """No update is known for the readers of nodes."""
        if self.compensate:
            raise SetupError("Sleep(compensate=True) acts on weights: use units=Weights()")

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """Awake, and trainable unless `include_frozen`."""
        return store.awake(name) if self.include_frozen else store.trainable(name)

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """The sleepers."""
        awake = store.awake(name)
        return None if awake is None else ~awake

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Put them to sleep."""
        return context.sleep(choice)
