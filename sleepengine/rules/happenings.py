"""What the engine tells the user's handlers after a transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sleepengine.errors import SetupError, did_you_mean
from sleepengine.journal import Record
from sleepengine.masks.planes import Changes


class Happening(Enum):
    """The kinds of event: what happened to some weights."""

    SLEPT = "slept"
    WOKE = "woke"
    FROZE = "froze"
    THAWED = "thawed"
    RESET = "reset"
    REWOUND = "rewound"


@dataclass(frozen=True)
class News:
    """One event: what happened, when, by which rules, and to which weights."""

    happening: Happening
    step: int
    records: tuple[Record, ...]
    changes: Changes


Handler = Callable[[News], None]


def happening(which: str | Happening) -> Happening:
    """A kind of event from its name.

    >>> happening("SLEPT")
    <Happening.SLEPT: 'slept'>
    """
    if isinstance(which, Happening):
        return which
    names = [kind.name for kind in Happening]
    if which not in names:
        raise SetupError(f"there is no event {which!r}. {did_you_mean(str(which), names)}")
    return Happening[which]
