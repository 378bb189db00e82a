"""Wake: sleeping weights come back, with a chosen value and chosen optimizer state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.actions.values import ValuePolicy, Zero, value_policy
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError, did_you_mean
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore


def state_policy(state: str | StatePolicy) -> StatePolicy:
    """An optimizer-state policy from its word: "keep", "zero" or "parked".

    >>> state_policy("keep").name
    'KEEP'
    """
    if isinstance(state, StatePolicy):
        return state
    words = {policy.name.lower(): policy for policy in StatePolicy}
    if not isinstance(state, str) or state not in words:
        raise SetupError(f"state={state!r} is not known. {did_you_mean(str(state), words)}")
    return words[state]


@dataclass(frozen=True)
class Wake(Action):
    """Sleeping weights wake, highest score first, with a value policy and a state policy.

    value: "parked" (as it fell asleep, the default), "zero", "original", "fresh", Kept("500it").
    state: "keep" (first moments zero, second moments as they were; the default), "zero"
    (everything fresh), "parked" (everything as it fell asleep). The two are independent.
    outgoing: for nodes, the value of the weights that read them; `value` is then that of the
    incoming side. With "zero" the output of the model does not jump. Zero on both sides raises:
    neither side would ever receive a gradient.
    """

    value: str | ValuePolicy = "parked"
    state: str | StatePolicy = "keep"
    outgoing: str | ValuePolicy = "parked"
    event: ClassVar[str] = "WOKE"
    highest: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the words."""
        state_policy(self.state)
        if isinstance(value_policy(self.value), Zero) and isinstance(
            value_policy(self.outgoing), Zero
        ):
            raise SetupError(
                "Wake(value='zero', outgoing='zero'): a node that is zero on both sides never "
                "learns; give one side 'parked', 'fresh' or 'original'"
            )

    def eligible(self, store: MaskStore, name: str) -> Tensor:
        """Asleep by their own weight bit, and not under a sleeping node."""
        asleep = store.layer_bits(name, Layer.WEIGHTS, Kind.ASLEEP)
        if asleep is None:
            return torch.zeros(store.shape(name), dtype=torch.bool, device=store.device(name))
        under = store.layer_bits(name, Layer.NODES, Kind.ASLEEP)
        free = asleep if under is None else bits.bit_andnot(asleep, under)
        return bits.unpack(free, store.shape(name))

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """The sleepers."""
        awake = store.awake(name)
        return None if awake is None else ~awake

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Wake them."""
        return context.wake(
            choice,
            value_policy(self.value),
            state_policy(self.state),
            value_policy(self.outgoing),
        )

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """What the value policy reads."""
        tags = (value_policy(self.value).kept_point, value_policy(self.outgoing).kept_point)
        return {tag: frozenset({"weights"}) for tag in tags if tag is not None}
