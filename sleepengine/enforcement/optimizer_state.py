"""Optimizer state of entries that sleep or are frozen: parked, filled, given back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sleepengine.enforcement import state_image
from sleepengine.enforcement.policies import ParkState, StatePolicy
from sleepengine.enforcement.roster import Member, Roster
from sleepengine.enforcement.state_keeper import StateKeeper
from sleepengine.enforcement.state_table import StateKind, holds_history
from sleepengine.errors import SetupError
from sleepengine.masks import bits as packed

_NONE: frozenset[str] = frozenset()


@final
class OptimizerState:
    """State of inactive entries: first moments 0, second moments 1, the true ones kept beside.

    Inactive means asleep or frozen. The fill makes every update of an inactive entry exactly zero,
    whatever eps is, and is written again before it decays. `optimizer.state_dict()` shows the true
    values, and `optimizer.load_state_dict()` parks what it finds. State that does not exist yet is
    cared for after the step that creates it. State that mixes all parameters in one vector (LBFGS)
    is cleared whenever entries become active or inactive.

    Args:
        roster: the parameters and their optimizers.
        keeps: what is parked; a policy that needs more raises.
        device: where parked state is kept; None = beside the state itself.
        dense: park in buffers of full size (fast) or values alone (small).

    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> adam = torch.optim.Adam([w])
    >>> w.grad = torch.ones(2); adam.step()
    >>> state = OptimizerState(Roster({"w": w}, [adam]))
    >>> state.attach(); state.park("w", torch.tensor([1], dtype=torch.uint8))
    >>> live, saved = adam.state[w]["exp_avg_sq"], adam.state_dict()["state"][0]["exp_avg_sq"]
    >>> round(float(live[0]), 4), round(float(saved[0]), 4)
    (1.0, 0.001)
    """

    def __init__(
        self,
        roster: Roster,
        keeps: ParkState = ParkState.SECOND,
        *,
        device: torch.device | str | None = None,
        dense: bool = True,
    ) -> None:
        self.roster = roster
        self.keeps = keeps
        self._keeper = StateKeeper(roster, keeps, device, dense)
        self._inactive: dict[str, Tensor] = {}
        self._steps = [0] * len(roster.optimizers)
        self._due: list[float | None] = [None] * len(roster.optimizers)
        self._resting: dict[int, tuple[tuple[Member, ...], list[Member]]] = {}
        self._handles: list[RemovableHandle] = []

    @property
    def nbytes(self) -> int:
        """Bytes of all parked state."""
        return self._keeper.nbytes

    def attach(self) -> None:
        """Show true values in `state_dict()` and take them in `load_state_dict()` from now on."""
        if self._handles:
            return
        for optimizer in self.roster.optimizers:
            self._handles += [
                optimizer.register_state_dict_post_hook(self._show),
                optimizer.register_load_state_dict_post_hook(self._loaded),
            ]

    def detach(self) -> None:
        """Write true values back, forget everything, remove the hooks."""
        self._restore_all()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def park(self, name: str, bits: Tensor) -> None:
        """Entries became inactive: park their state and fill it."""
        old = self._inactive.get(name)
        new = bits if old is None else packed.bit_andnot(bits, old)
        if not packed.any_set(new):
            return
        self._inactive[name] = new if old is None else packed.bit_or(old, new)
        for k, member in self._called(name):
            if not self._clear_history(k, member):
                settled = self._keeper.is_settled(k, member)
                self._keeper.put_away(k, member, new if settled else self._inactive[name])

    def release(self, name: str, bits: Tensor, policy: StatePolicy = StatePolicy.KEEP) -> None:
        """Entries became active: give them state by the policy. Write their values back first.

        Raises:
            SetupError: the policy needs state that is not parked.
        """
        self.check(policy)
        old = self._inactive.get(name)
        gone = None if old is None else packed.bit_and(bits, old)
        if old is None or gone is None or not packed.any_set(gone):
            return
        self._inactive[name] = packed.bit_andnot(old, gone)
        if not packed.any_set(self._inactive[name]):
            del self._inactive[name]
        for k, member in self._called(name):
            if not self._clear_history(k, member):
                self._keeper.give(k, member, gone, policy)
                if name not in self._inactive:
                    self._keeper.drop(k, name)

    def renew(self, name: str, bits: Tensor, policy: StatePolicy = StatePolicy.ZERO) -> None:
        """Fresh state for reset entries: ZERO all of it, KEEP first moments, PARKED nothing.

        Inactive entries among them stay filled; what is parked of them becomes fresh.
        """
        if policy is StatePolicy.PARKED or not packed.any_set(bits):
            return
        inactive = self._inactive.get(name)
        active = bits if inactive is None else packed.bit_andnot(bits, inactive)
        for k, member in self._called(name):
            if not self._clear_history(k, member):
                self._keeper.renew(k, member, active, bits, policy)

    def check(self, policy: StatePolicy) -> None:
        """Raise SetupError when the policy needs state that is not parked."""
        if not self.keeps.covers(policy.needs):
            raise SetupError(
                f"StatePolicy.{policy.name} needs ParkState.{policy.needs.name}, but this engine "
                f"keeps ParkState.{self.keeps.name}: give it park_state="
                f"{policy.needs.name.lower()!r}, or wake with state='zero'"
            )

    def adopt(self, inactive: Mapping[str, Tensor]) -> None:
        """These entries, and no others, are inactive: for masks that were loaded or attached.

        State of entries that were inactive becomes true again, then that of the new ones is parked.
        """
        self._restore_all()
        for name, bits in inactive.items():
            if packed.any_set(bits):
                self._inactive[name] = bits
                for k, member in self._called(name):
                    self._keeper.take_over(k, member, bits)

    def turn_to(self, inactive: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Care for these entries of state that was given another size; returns the old ones."""
        before, self._inactive = self._inactive, dict(inactive)
        self._resting = {}
        for k in range(len(self.roster.optimizers)):
            for member in self._inactive_members(k):
                self._keeper.settle(k, member)
        return before

    def inactive(self, name: str) -> Tensor | None:
        """Packed bits of the entries whose state is filled; None when there are none."""
        return self._inactive.get(name)

    def first_moments(self) -> dict[str, Tensor]:
        """Name -> first moment (exp_avg, momentum_buffer, ...) as it lives in the optimizer."""
        found: dict[str, Tensor] = {}
        for k in range(len(self.roster.optimizers)):
            for member in self.roster.members(k):
                for entry in self._keeper.entries(k, member):
                    if entry.rule.kind is StateKind.FIRST:
                        found.setdefault(member.name, entry.tensor)
        return found

    def after_step(self, optimizer: Optimizer) -> frozenset[str]:
        """Fill state that the step created, and fills that are due; the names with new state."""
        if not self._inactive:
            return _NONE
        k = self.roster.index(optimizer)
        new = self._keeper.unsettled(k, self._inactive_members(k))
        for member in new:
            self._keeper.drop(k, member.name)
            self._keeper.fill(k, member, self._inactive[member.name])
        due = self._due[k]
        if due is None or new:
            lasts = (self._keeper.refill_after(k, m) for m in self._inactive_members(k))
            due = self._due[k] = min(lasts, default=float("inf"))
        self._steps[k] += 1
        if self._steps[k] >= due:
            self._steps[k], self._due[k] = 0, None
            for member in self._inactive_members(k):
                self._keeper.fill(k, member, self._inactive[member.name])
        return frozenset(member.name for member in new) if new else _NONE

    def image(self, names: Collection[str]) -> state_image.StateImage:
        """The state of these parameters as it truly is, in memory of its own."""
        return state_image.take_image(self.roster, self._keeper, self._inactive, self._steps, names)

    def put_back(self, image: state_image.StateImage) -> None:
        """Make the state of an image's parameters what it was, parked and filled as it was."""
        state_image.put_image_back(self.roster, self._keeper, image)
        kept = {n: bits for n, bits in self._inactive.items() if n not in image.names}
        self._inactive, self._resting = {**kept, **image.inactive}, {}
        self._steps, self._due = list(image.steps), [None] * len(self._steps)

    def state_dict(self) -> dict[str, Any]:
        """Steps since the last fill of each optimizer; parked state is in the optimizer's own."""
        return {"steps_since_fill": list(self._steps)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the counters; raises StateError unless they are one int >= 0 per optimizer."""
        self._steps = state_image.read_counters(state, len(self._steps))

    # --- inside --------------------------------------------------------------------------------

    def _called(self, name: str) -> list[tuple[int, Member]]:
        """Where a parameter is stepped, whose inactive entries are about to change."""
        self._due = [None] * len(self._due)
        self._resting = {}
        return self.roster.places(name)

    def _inactive_members(self, k: int) -> list[Member]:
        members = self.roster.members(k)
        known = self._resting.get(k)
        if known is None or known[0] is not members:
            resting = [m for m in members if m.name in self._inactive]
            known = self._resting[k] = (members, resting)
        return known[1]

    def _clear_history(self, k: int, member: Member) -> bool:
        """Curvature pairs of a history belong to the old set of active entries: start again."""
        state = self.roster.optimizers[k].state
        first: Mapping[str, Any] = next(iter(state.values()), {})  # has the one vector of all
        if not holds_history(first) and not holds_history(self._keeper.state(k, member)):
            return False
        state.clear()
        return True

    def _restore_all(self) -> None:
        for name, bits in self._inactive.items():
            for k, member in self._called(name):
                self._keeper.restore(k, member, bits)
        self._inactive, self._resting = {}, {}

    def _show(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
        return state_image.shown(self.roster, self._keeper, self._inactive, optimizer, state_dict)

    def _loaded(self, optimizer: Optimizer) -> None:
        k = self.roster.index(optimizer)
        self._due[k] = None
        for member in self._inactive_members(k):
            # Masks may be loaded after the optimizer: entries that turn out to be active then
            # need all of their state.
            self._keeper.take_over(k, member, self._inactive[member.name], everything=True)
