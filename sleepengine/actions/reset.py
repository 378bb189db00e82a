"""Reset: the chosen weights start again, value and optimizer state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.actions.live import Live
from sleepengine.actions.node_values import fresh_statistics
from sleepengine.actions.values import Fresh, Parked, ValuePolicy, Zero, value_policy
from sleepengine.actions.wake import state_policy
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.sides import Side


@dataclass(frozen=True)
class Reset(Action):
    """Awake weights get a new value ("fresh" by default) and, by default, fresh optimizer state.

    Picks among the awake and trainable, lowest score first; masks do not change.
    value: "fresh", "zero", "original" or Kept("500it"). state: "zero" or "keep".
    outgoing: for nodes, the value of the weights that read them, "zero" by default, so that the
    output of the model changes only by what the nodes gave; `value` is then that of the incoming
    side (ReDo, Sokar et al. 2023; continual backprop, Dohare et al. 2024). Entries that sleep
    stay asleep and frozen ones stay as they are unless `include_frozen`.
    transfer: for nodes, what readers lose on average goes into their biases, b += w_out mean(h), so
    that the output stays where it was on average. It takes a scorer that remembers mean inputs,
    `Utility(means=True)`, and outgoing="zero". Readers without a bias of their own (recurrent and
    transposed ones too) lose it; at the border of a padded convolution the mean is a little off;
    frozen and sleeping biases stay.
    """

    value: str | ValuePolicy = "fresh"
    state: str | StatePolicy = "zero"
    include_frozen: bool = False
    outgoing: str | ValuePolicy = "zero"
    transfer: bool = False
    event: ClassVar[str] = "RESET"

    def __post_init__(self) -> None:
        """Check the words; a parked value makes no sense for a weight that is awake."""
        for label, value in (("value", self.value), ("outgoing", self.outgoing)):
            if isinstance(value_policy(value), Parked):
                raise SetupError(
                    f"Reset({label}='parked'): a weight that is awake has no parked value"
                )
        if state_policy(self.state) is StatePolicy.PARKED:
            raise SetupError("Reset(state='parked'): a weight that is awake has no parked state")
        if self.transfer and not isinstance(value_policy(self.outgoing), Zero):
            raise SetupError(
                f"Reset(outgoing={self.outgoing!r}, transfer=True): the readers lose nothing that "
                "could go into their biases; leave out outgoing=, which is 'zero' then"
            )

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """Awake, and trainable unless `include_frozen`."""
        return store.awake(name) if self.include_frozen else store.trainable(name)

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """Nothing is counted: a reset has no lasting share."""
        return None

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Write the values once the masks of the transaction are in force."""
        if choice.layer is Layer.NODES:
            self.check_nodes()
            entries = context.entries(choice)
            for value in (self.value, self.outgoing):
                check = partial(value_policy(value).check, names=entries.names)
                context.require(check)
            context.afterwards(lambda live: self._write_nodes(live, choice))
            return entries
        context.require(lambda live: value_policy(self.value).check(live, choice.names))
        context.afterwards(lambda live: self._write(live, choice, self.value))
        return choice

    @property
    def transfers(self) -> bool:
        """Whether the mean contribution of nodes goes into the biases of their readers."""
        return self.transfer

    def check_nodes(self) -> None:
        """Zero on both sides raises: neither would ever receive a gradient."""
        if all(isinstance(value_policy(v), Zero) for v in (self.value, self.outgoing)):
            raise SetupError(
                "Reset(value='zero', outgoing='zero'): a node that is zero on both sides never "
                "learns; give one side 'fresh' or 'original'"
            )

    def _write_nodes(self, live: Live, nodes: Choice) -> None:
        everything = live.nodes.entries(nodes)
        outgoing = live.nodes.entries(nodes, Side.OUTGOING)
        own = everything.difference(outgoing)
        if isinstance(value_policy(self.value), Zero):
            own = own.difference(live.nodes.norm_entries(nodes))
        self._write(live, own, self.value)
        self._write(live, outgoing, self.outgoing)
        if isinstance(value_policy(self.value), Fresh):
            fresh_statistics(live, nodes)

    def _write(
        self,
        live: Live,
        choice: Choice,
        value: str | ValuePolicy,
    ) -> None:
        for name in choice:
            where = choice.bits(name)
            asleep = live.store.asleep_bits(name)
            if (
                asleep is not None
            ):  # a later rule of the same transaction may have put some to sleep
                where = bits.bit_andnot(where, asleep)
            frozen = None if self.include_frozen else live.store.frozen_bits(name)
            if choice.layer is Layer.NODES and frozen is not None:  # owned by others too
                where = bits.bit_andnot(where, frozen)
            if not bits.any_set(where):
                continue
            value_policy(value).write(live, name, where)
            live.state.renew(name, where, state_policy(self.state))

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """What the value policy reads."""
        tags = (value_policy(self.value).kept_point, value_policy(self.outgoing).kept_point)
        return {tag: frozenset({"weights"}) for tag in tags if tag is not None}
