"""Reset: the chosen weights start again, value and optimizer state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.actions.live import Live
from sleepengine.actions.values import Parked, ValuePolicy, value_policy
from sleepengine.actions.wake import state_policy
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@dataclass(frozen=True)
class Reset(Action):
    """Awake weights get a new value ("fresh" by default) and, by default, fresh optimizer state.

    Picks among the awake and trainable, lowest score first; masks do not change.
    value: "fresh", "zero", "original" or Kept("500it"). state: "zero" or "keep".
    """

    value: str | ValuePolicy = "fresh"
    state: str | StatePolicy = "zero"
    include_frozen: bool = False
    event: ClassVar[str] = "RESET"

    def __post_init__(self) -> None:
        """Check both words; a parked value makes no sense for a weight that is awake."""
        if isinstance(value_policy(self.value), Parked):
            raise SetupError("Reset(value='parked'): a weight that is awake has no parked value")
        if state_policy(self.state) is StatePolicy.PARKED:
            raise SetupError("Reset(state='parked'): a weight that is awake has no parked state")

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """Awake, and trainable unless `include_frozen`."""
        return store.awake(name) if self.include_frozen else store.trainable(name)

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """Nothing is counted: a reset has no lasting share."""
        return None

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Write the values once the masks of the transaction are in force."""
        context.afterwards(lambda live: self._write(live, choice))
        return choice

    def _write(self, live: Live, choice: Choice) -> None:
        for name in choice:
            where = choice.bits(name)
            asleep = live.store.asleep_bits(name)
            if (
                asleep is not None
            ):  # a later rule of the same transaction may have put some to sleep
                where = bits.bit_andnot(where, asleep)
            value_policy(self.value).write(live, name, where)
            live.state.renew(name, where, state_policy(self.state))

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """What the value policy reads."""
        tag = value_policy(self.value).kept_point
        return {} if tag is None else {tag: frozenset({"weights"})}
