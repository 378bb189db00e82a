"""The words of the engine's constructor, checked one by one before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sleepengine.actions.wake import Wake, state_policy
from sleepengine.enforcement.policies import ParkState
from sleepengine.errors import SetupError
from sleepengine.rules.rule import Rule

T = TypeVar("T")
PARK_STATES = {"none": ParkState.NONE, "second": ParkState.SECOND, "all": ParkState.ALL}


@dataclass(frozen=True)
class Memory:
    """How masks and parked values are held.

    mode: "fast" (expanded masks, dense parked values) or "lean" (bits, packed values).
    park_on: None = the parameter's device, or "cpu".
    park_state: "auto", "none", "second" or "all".
    """

    mode: str = "fast"
    park_on: str | None = None
    park_state: str = "auto"

    def __post_init__(self) -> None:
        """Check the words."""
        for label, value, valid in (
            ("memory", self.mode, ("fast", "lean")),
            ("park_on", self.park_on, (None, "cpu")),
            ("park_state", self.park_state, ("auto", *PARK_STATES)),
        ):
            if value not in valid:
                raise SetupError(f"{label}={value!r} is not known; valid: {list(valid)}")

    def state(self, rules: Sequence[Rule]) -> ParkState:
        """What of the optimizer state is parked: what the rules can ask for."""
        asked = [state_policy(r.what.state).needs for r in rules if isinstance(r.what, Wake)]
        if self.park_state != "auto":
            given = PARK_STATES[self.park_state]
            for need in asked:
                if not given.covers(need):
                    raise SetupError(
                        f"park_state={self.park_state!r}, but the Wake of a rule needs "
                        f"{need.name.lower()!r}"
                    )
            return given
        return ParkState.ALL if ParkState.ALL in asked else ParkState.SECOND


def as_tuple(value: Any, kind: type[T]) -> tuple[T, ...]:
    """None, one or several as a tuple, each checked against `kind`."""
    if value is None:
        return ()
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    for one in several:
        if not isinstance(one, kind):
            raise SetupError(f"{one!r} is not a {kind.__module__}.{kind.__name__}")
    return several


def named(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules under names that differ: a second "Sleep-Magnitude" becomes "Sleep-Magnitude-2"."""
    if isinstance(rules, Rule):
        raise SetupError("rules is one Rule: write [rule], a list")
    taken: set[str] = set()
    result: list[Rule] = []
    for rule in rules:
        if not isinstance(rule, Rule):
            raise SetupError(f"rules: {rule!r} is not a Rule(when, who, what)")
        name, number = rule.name, 2
        while name in taken:
            name, number = f"{rule.name}-{number}", number + 1
        taken.add(name)
        result.append(rule if name == rule.name else replace(rule, name=name))
    return tuple(result)


def check_seed(seed: int) -> None:
    """A seed is an integer; any one.

    Raises:
        SetupError: it is something else.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SetupError(f"seed={seed!r} is no integer")
