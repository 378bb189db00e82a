"""What the engine tells the user's handlers after a transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sleepengine.errors import SetupError, did_you_mean
from sleepengine.journal import Record
from sleepengine.masks.choice import Choice, Layer
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
    """One event: what happened, when, by which rules, and to which weights.

    `nodes` are the nodes to which it happened, by group, where nodes were chosen.
    """

    happening: Happening
    step: int
    records: tuple[Record, ...]
    changes: Changes
    nodes: Choice = field(default_factory=lambda: Choice.empty(Layer.NODES))


Handler = Callable[[News], None]
_TURNED = (Happening.SLEPT, Happening.WOKE, Happening.FROZE, Happening.THAWED)


def kinds_of(records: Sequence[Record], changes: Changes) -> list[Happening]:
    """The kinds of event in one transaction."""
    found = [kind for kind, one in zip(_TURNED, changes, strict=True) if not one.is_empty()]
    if any(one.action == "Reset" and one.changed for one in records):
        found.append(Happening.RESET)
    if any(one.action == "Rewind" for one in records):
        found.append(Happening.REWOUND)
    return found


def news_of(
    step: int, records: Sequence[Record], changes: Changes, nodes: Sequence[Choice]
) -> list[News]:
    """The events of one transaction; `nodes` slept, woke, froze, thawed and were reset in it."""
    found = kinds_of(records, changes)
    of_nodes = dict(zip((*_TURNED, Happening.RESET), nodes, strict=True))
    nothing = Choice.empty()
    return [
        News(kind, step, tuple(records), changes, of_nodes.get(kind, nothing).on_layer(Layer.NODES))
        for kind in found
    ]


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
