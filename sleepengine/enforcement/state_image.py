"""The optimizer state of some parameters as it truly is, to be put back bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, final

from torch import Tensor
from torch.optim import Optimizer

from sleepengine.enforcement.roster import Member, Roster
from sleepengine.enforcement.state_keeper import StateKeeper
from sleepengine.enforcement.state_table import holds_history
from sleepengine.errors import StateError
from sleepengine.masks import bits as packed


@final
class StateImage(NamedTuple):
    """True state by (optimizer, name), which entries were inactive, and the fill counters."""

    names: frozenset[str]
    states: Mapping[tuple[int, str], dict[str, Any]]
    inactive: Mapping[str, Tensor]
    steps: tuple[int, ...]


def take_image(
    roster: Roster,
    keeper: StateKeeper,
    inactive: Mapping[str, Tensor],
    steps: Collection[int],
    names: Collection[str],
) -> StateImage:
    """The state of these parameters, in memory of its own."""
    states: dict[tuple[int, str], dict[str, Any]] = {}
    wanted = set(names)
    for k in range(len(roster.optimizers)):
        for member in roster.members(k):
            if holds_history(keeper.state(k, member)):  # one history speaks of all parameters
                wanted.add(member.name)
            if member.name in wanted and keeper.state(k, member):
                bits = inactive.get(member.name, packed.empty(member.param.numel()))
                states[k, member.name] = _own(keeper, k, member, bits)
    kept = {name: bits for name, bits in inactive.items() if name in wanted}
    return StateImage(frozenset(wanted), states, kept, tuple(steps))


def _own(keeper: StateKeeper, k: int, member: Member, bits: Tensor) -> dict[str, Any]:
    """True state in memory of its own; what is a copy already is not copied again."""
    live, true = keeper.state(k, member), keeper.true_copy(k, member, bits)
    return {**true, **copy.deepcopy({key: v for key, v in true.items() if v is live[key]})}


def put_image_back(roster: Roster, keeper: StateKeeper, image: StateImage) -> None:
    """Write the states, parked and filled where entries were inactive."""
    for k, optimizer in enumerate(roster.optimizers):
        for member in roster.members(k):
            name = member.name
            if name not in image.names:
                continue
            keeper.drop(k, name)
            if (k, name) not in image.states:
                optimizer.state.pop(member.param, None)
                continue
            optimizer.state[member.param] = copy.deepcopy(image.states[k, name])
            if name in image.inactive:
                keeper.take_over(k, member, image.inactive[name])


def read_counters(state: Mapping[str, Any], optimizers: int) -> list[int]:
    """Steps since the last fill of each optimizer, from a saved state.

    Raises:
        StateError: they are not one non-negative int for each optimizer.
    """
    steps = state.get("steps_since_fill")
    if (
        not isinstance(steps, list | tuple)
        or len(steps) != optimizers
        or not all(type(n) is int and n >= 0 for n in steps)
    ):
        raise StateError(f"steps_since_fill must be {optimizers} non-negative ints, got {steps!r}")
    return list(steps)


def shown(
    roster: Roster,
    keeper: StateKeeper,
    inactive: Mapping[str, Tensor],
    optimizer: Optimizer,
    state_dict: dict[str, Any],
) -> dict[str, Any]:
    """What an optimizer saves, with true values in place of fills; live tensors are only read."""
    k = roster.index(optimizer)
    places = {
        id(param): place
        for saved, group in zip(state_dict["param_groups"], optimizer.param_groups, strict=True)
        for place, param in zip(saved["params"], group["params"], strict=True)
    }
    states = dict(state_dict["state"])
    for member in roster.members(k):
        place = places[id(member.param)]
        if member.name in inactive and place in states:
            states[place] = keeper.true_copy(k, member, inactive[member.name])
    return {**state_dict, "state": states}
