"""State of one parameter in one optimizer: put away, filled, given back, shown as it truly is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, final

import torch
from torch import Tensor

from sleepengine.enforcement import state_entries as write
from sleepengine.enforcement.bit_masks import Expander
from sleepengine.enforcement.policies import ParkState, StatePolicy
from sleepengine.enforcement.roster import Member, Roster
from sleepengine.enforcement.state_entries import Entry
from sleepengine.enforcement.state_table import StateKind, holds_history, refill_after
from sleepengine.masks.parked import Parked


@final
class StateKeeper:
    """Parked state by optimizer, parameter and state name. State tensors are looked up anew.

    Args:
        roster: the parameters and their optimizers.
        keeps: what is parked.
        device: where; None = beside the state itself.
        dense: in buffers of full size (True), or values alone.
    """

    def __init__(
        self, roster: Roster, keeps: ParkState, device: torch.device | str | None, dense: bool
    ) -> None:
        self._roster = roster
        self._keeps = keeps
        self._device = device
        self._dense = dense
        self._parked: dict[tuple[int, str], dict[str, Parked]] = {}
        # The state dict and its size at the last fill: a new or larger one needs a fill.
        self._settled: dict[tuple[int, str], tuple[Mapping[str, object], int]] = {}
        self._expanders: dict[torch.device, Expander] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of everything parked."""
        return sum(parked.nbytes for kept in self._parked.values() for parked in kept.values())

    def state(self, k: int, member: Member) -> dict[str, Any]:
        """The live state of a member, empty before its first step."""
        found: dict[str, Any] | None = self._roster.optimizers[k].state.get(member.param)
        return {} if found is None else found

    def entries(self, k: int, member: Member) -> Iterator[Entry]:
        """Its state tensors that can be cared for; none where one vector mixes all parameters."""
        state = self.state(k, member)
        if not holds_history(state):
            yield from write.entries(state, member.param)

    def is_settled(self, k: int, member: Member) -> bool:
        """True when the state is the one that was filled last, or there is none."""
        return not self.unsettled(k, (member,))

    def unsettled(self, k: int, members: Iterable[Member]) -> list[Member]:
        """Those whose state a step, or somebody else, has made or replaced since the last fill."""
        state, settled, new = self._roster.optimizers[k].state, self._settled, []
        for member in members:
            kept = state.get(member.param)
            if kept:
                seen = settled.get((k, member.name))
                if seen is None or seen[0] is not kept or seen[1] != len(kept):
                    new.append(member)
        return new

    def settle(self, k: int, member: Member) -> None:
        """The state that there is was filled already."""
        state = self.state(k, member)
        if state:
            self._settled[k, member.name] = (state, len(state))

    def put_away(self, k: int, member: Member, bits: Tensor, *, everything: bool = False) -> None:
        """Park the state at the bits, then fill it."""
        for entry in self.entries(k, member):
            if self._is_kept(entry, everything):
                self._place(k, member, entry).put(entry.tensor, bits)
        self.fill(k, member, bits)

    def fill(self, k: int, member: Member, bits: Tensor) -> None:
        """Write the fills at the bits."""
        for entry in self.entries(k, member):
            write.write_fill(entry, bits, self._expander(entry))
        self.settle(k, member)

    def take_over(self, k: int, member: Member, bits: Tensor, *, everything: bool = False) -> None:
        """Park and fill state that was loaded, in memory of its own.

        Loading may leave the caller's saved tensors in the optimizer, and fills are not to appear
        in what the caller holds.
        """
        self.drop(k, member.name)
        state = self.state(k, member)
        for entry in self.entries(k, member):
            state[entry.key] = entry.tensor.clone()
        self.put_away(k, member, bits, everything=everything)

    def give(self, k: int, member: Member, bits: Tensor, policy: StatePolicy) -> None:
        """State at the bits by the policy; nothing stays parked there."""
        kept = self._parked.get((k, member.name), {})
        group = self._roster.group(k, member)
        for entry in self.entries(k, member):
            as_it_was = policy is StatePolicy.PARKED or (
                policy is StatePolicy.KEEP and entry.rule.kind is StateKind.SECOND
            )
            parked = kept.get(entry.key)
            if as_it_was:
                write.write_true(entry, bits, parked, group, member.param, self._expander(entry))
            else:
                write.write_fresh(entry, bits, group, member.param, self._expander(entry))
        for parked in kept.values():
            parked.discard(bits)

    def renew(
        self, k: int, member: Member, active: Tensor, bits: Tensor, policy: StatePolicy
    ) -> None:
        """Fresh state at the active bits; what is parked at the bits becomes fresh too."""
        kept = self._parked.get((k, member.name), {})
        group = self._roster.group(k, member)
        for entry in self.entries(k, member):
            if policy is StatePolicy.ZERO or entry.rule.kind is StateKind.FIRST:
                write.write_fresh(entry, active, group, member.param, self._expander(entry))
                if entry.key in kept:
                    kept[entry.key].discard(bits)

    def restore(self, k: int, member: Member, bits: Tensor) -> None:
        """Live state at the bits becomes true again; nothing stays parked."""
        self._write_true(k, member, self.entries(k, member), bits)
        self.drop(k, member.name)

    def true_copy(self, k: int, member: Member, bits: Tensor) -> dict[str, Any]:
        """The state with true values at the bits; live tensors are only read."""
        shown = dict(self.state(k, member))
        if self.is_settled(k, member):
            copies = [e._replace(tensor=e.tensor.clone()) for e in self.entries(k, member)]
            self._write_true(k, member, iter(copies), bits)
            shown.update((entry.key, entry.tensor) for entry in copies)
        return shown

    def drop(self, k: int, name: str) -> None:
        """Forget what is parked of one parameter and that it was filled."""
        self._parked.pop((k, name), None)
        self._settled.pop((k, name), None)

    def refill_after(self, k: int, member: Member) -> float:
        """Steps that the fills of a member last."""
        group = self._roster.group(k, member)
        lasts = (refill_after(e.rule, group, e.tensor.dtype) for e in self.entries(k, member))
        return min((steps for steps in lasts if steps is not None), default=float("inf"))

    # --- inside --------------------------------------------------------------------------------

    def _write_true(self, k: int, member: Member, entries: Iterator[Entry], bits: Tensor) -> None:
        kept = self._parked.get((k, member.name), {})
        group = self._roster.group(k, member)
        for entry in entries:
            parked = kept.get(entry.key)
            write.write_true(entry, bits, parked, group, member.param, self._expander(entry))

    def _is_kept(self, entry: Entry, everything: bool) -> bool:
        if everything or not write.can_park(entry):
            return write.can_park(entry)
        first = entry.rule.kind is StateKind.FIRST
        return self._keeps.covers(ParkState.ALL if first else ParkState.SECOND)

    def _place(self, k: int, member: Member, entry: Entry) -> Parked:
        kept = self._parked.setdefault((k, member.name), {})
        place = kept.get(entry.key)
        if place is None or place.dtype != entry.tensor.dtype:
            place = kept[entry.key] = Parked(
                entry.tensor.shape,
                entry.tensor.dtype,
                dense=self._dense,
                device=entry.tensor.device if self._device is None else self._device,
            )
        return place

    def _expander(self, entry: Entry) -> Expander:
        device = entry.tensor.device
        if device not in self._expanders:
            self._expanders[device] = Expander(device)
        return self._expanders[device]
