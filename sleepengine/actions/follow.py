"""Follow: the masks become those that a journal recorded at this step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.actions.values import ValuePolicy, value_policy
from sleepengine.actions.wake import state_policy
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.journal import Replay
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@dataclass(frozen=True)
class Follow(Action):
    """masks(t) = the masks that another run had after step t, whatever scores say here.

    Replays a journal on another machine or seed: the masks are the recorded ones, the values are
    those of this run. Use with `at(...)` over `replay.steps()`, as `recipes.follow` does.
    """

    replay: Replay
    value: str | ValuePolicy = "parked"
    state: str | StatePolicy = "keep"
    event: ClassVar[str] = "SLEPT"
    chooses: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check both words."""
        value_policy(self.value)
        state_policy(self.state)

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """All weights."""
        return None

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """Nothing is counted."""
        return None

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Take the recorded masks."""
        masks = self.replay.masks(context.step)
        changes = context.become(masks, value_policy(self.value), state_policy(self.state))
        return changes.slept.union(changes.woke)

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """What the value policy reads."""
        tag = value_policy(self.value).kept_point
        return {} if tag is None else {tag: frozenset({"weights"})}
