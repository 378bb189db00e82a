"""Save and load an engine: check everything first, then apply."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from saliency import Scorer
from sleepengine.choosing.shares import Carry
from sleepengine.enforcement.frozen_values import read_frozen
from sleepengine.engine import state_checks as checks
from sleepengine.errors import StateError
from sleepengine.journal import Journal
from sleepengine.masks import bits
from sleepengine.masks.store import MaskStore
from sleepengine.rules.filters import Filter
from sleepengine.rules.happenings import Happening
from sleepengine.rules.timekeeper import Timekeeper

if TYPE_CHECKING:
    from sleepengine.engine.sleep_engine import SleepEngine

FORMAT = 1
FIELDS = {
    "format",
    "rules",
    "seed",
    "event",
    "masks",
    "nodes",
    "statistics",
    "parked",
    "frozen",
    "optimizer_state",
    "clock",
    "looked",
    "happened",
    "waiting",
    "window",
    "carries",
    "memories",
    "kept_points",
    "rewound",
    "journal",
}


def _digest(engine: SleepEngine) -> list[str]:
    """The rules as text, to tell whether a saved state belongs to them.

    Addresses are left out: a curve that is a plain function has another one in every process.
    """
    texts = (f"{rule.name}: {rule.why} {rule.what!r}" for rule in engine.rules)
    return [re.sub(r" at 0x[0-9a-f]+", "", text) for text in texts]


def of(engine: SleepEngine) -> dict[str, Any]:
    """Everything that the engine knows beside model and optimizer: plain values and tensors."""
    agenda, live = engine.conductor.agenda, engine.live
    frozen = engine.enforcer.state_dict()["frozen_values"]
    return {
        "format": FORMAT,
        "rules": _digest(engine),
        "seed": live.seed,
        "event": live.event,
        "masks": live.store.state_dict(),
        "nodes": live.nodes.store.state_dict(),
        "statistics": live.held.state_dict(),
        "parked": live.parked.state_dict(),
        "frozen": {"frozen_values": {n: frozen[n] for n in live.store.names() if n in frozen}},
        "optimizer_state": live.state.state_dict(),
        "clock": engine.time.state_dict(),
        "looked": -1 if agenda.looked is None else agenda.looked,
        "happened": {kind.value: n for kind, n in engine.firing.happened.items()},
        "waiting": [rule.name for rule in agenda.waiting],
        "window": agenda.window,
        "carries": dict(engine.firing.carries),
        "memories": {
            name: {
                "scorer": {} if scorer is None else scorer.state_dict(),
                "filters": [one.state_dict() for one in filters],
            }
            for name, (scorer, filters) in _memories(engine).items()
        },
        "kept_points": live.kept.state_dict(),
        "rewound": live.rewound or "",
        "journal": engine.journal.state_dict(),
    }


_DAMAGED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def load(engine: SleepEngine, saved: Mapping[str, Any]) -> None:
    """Check all of it against the engine, then apply all of it.

    Raises:
        StateError: anything does not fit; nothing was changed.
    """
    try:
        apply = _checked(engine, saved)
    except StateError:
        raise
    except _DAMAGED as error:
        raise StateError(f"the saved engine is damaged: {error!r}") from error
    apply()


def _checked(engine: SleepEngine, saved: Mapping[str, Any]) -> Callable[[], None]:
    """Check all; what is returned applies all and does not fail."""
    if not isinstance(saved, Mapping):
        raise StateError(f"the saved engine must be a dict, got {type(saved).__name__}")
    if set(saved) != FIELDS:
        raise StateError(
            f"the saved engine lacks {sorted(FIELDS - set(saved))} and has unknown "
            f"{sorted(set(saved) - FIELDS)}"
        )
    if saved["format"] != FORMAT:
        raise StateError(f"the saved engine has format {saved['format']!r}, this reads {FORMAT}")
    rules = _digest(engine)
    if list(saved["rules"]) != rules:
        differ = [pair for pair in zip(saved["rules"], rules, strict=False) if pair[0] != pair[1]]
        told = (
            f"saved {differ[0][0]!r}, here {differ[0][1]!r}" if differ else "their number differs"
        )
        raise StateError(f"the saved engine had other rules: {told}")
    live = engine.live
    masks = live.store.fork()
    masks.load_state_dict(saved["masks"])
    nodes = live.nodes.fork()
    nodes.store.load_state_dict(saved["nodes"])
    statistics = live.held.check(saved["statistics"])
    checks.nodes(masks, nodes, statistics)
    parked = live.parked.copy()
    parked.load_state_dict(saved["parked"])
    checks.parked(masks, parked)
    kept = live.kept.check(saved["kept_points"], live)
    rewound = str(saved["rewound"]) or None
    if rewound is not None and rewound not in kept:
        raise StateError(f"the saved engine goes back to {rewound!r}, which is not kept")
    journal = Journal({n: live.store.shape(n) for n in live.store.names()})
    journal.load_state_dict(saved["journal"])
    names = {rule.name: rule for rule in engine.rules}
    unknown = [name for name in saved["waiting"] if name not in names]
    if unknown:
        raise StateError(f"the saved engine waits for unknown rules {unknown}")
    read_frozen(saved["frozen"], masks, live.state.roster)
    checks.order(engine, masks)
    time = Timekeeper()
    time.load_state_dict(saved["clock"])
    counters = live.state.state_dict()
    live.state.load_state_dict(saved["optimizer_state"])  # checks first, and counters are all it is
    live.state.load_state_dict(counters)
    numbers = {key: int(saved[key]) for key in ("seed", "event", "looked", "window")}
    carries = {str(name): _carry(carry) for name, carry in saved["carries"].items()}
    happened = {kind: int(saved["happened"][kind.value]) for kind in Happening}
    _remember(copy.deepcopy(_memories(engine)), saved["memories"])

    def apply() -> None:
        _apply(engine, saved, masks)
        live.nodes.store.load_state_dict(saved["nodes"])
        live.held.load(statistics)
        live.kept.replace(kept)
        live.rewound = rewound
        engine.firing.carries, engine.firing.happened = carries, happened
        engine.firing.forget_undo()
        _remember(_memories(engine), saved["memories"])
        agenda = engine.conductor.agenda
        agenda.restart()
        agenda.looked = None if numbers["looked"] < 0 else numbers["looked"]
        agenda.waiting = [names[name] for name in saved["waiting"]]
        agenda.window = numbers["window"]
        if engine.attached:
            engine.conductor.loaded()

    return apply


Memory = tuple[Scorer | None, tuple[Filter, ...]]


def _memories(engine: SleepEngine) -> dict[str, Memory]:
    """What the rules remember by: rule -> scorer and filters."""
    who = {rule.name: rule.who for rule in engine.rules if rule.who is not None}
    return {name: (one.scorer, one.filters) for name, one in who.items()}


def _remember(memories: Mapping[str, Memory], saved: Mapping[str, Any]) -> None:
    """Give scorers and filters what they remembered."""
    if memories.keys() != saved.keys():
        raise StateError(f"memories are of {sorted(saved)}, the rules are {sorted(memories)}")
    for name, (scorer, filters) in memories.items():
        if scorer is not None:
            scorer.load_state_dict(saved[name]["scorer"])
        for one, kept in zip(filters, saved[name]["filters"], strict=True):
            one.load_state_dict(kept)


def _carry(saved: Any) -> Carry:
    if isinstance(saved, Mapping):
        return {str(name): float(left) for name, left in saved.items()}
    return float(saved)


@torch.no_grad()
def _apply(engine: SleepEngine, saved: Mapping[str, Any], masks: MaskStore) -> None:
    live = engine.live
    old = set(live.store.entries())
    live.store.load_state_dict(saved["masks"])
    live.parked.load_state_dict(saved["parked"])
    live.seed, live.event = int(saved["seed"]), int(saved["event"])
    for name in live.store.entries():
        asleep = live.store.asleep_bits(name)
        if asleep is not None:
            parameter = live.params[name]
            parameter.masked_fill_(bits.unpack(asleep, parameter.shape), 0)
    live.state.load_state_dict(saved["optimizer_state"])
    engine.time.load_state_dict(saved["clock"])
    engine.journal.load_state_dict(saved["journal"])
    engine.enforcer.sync(old | set(live.store.entries()))
    engine.enforcer.load_state_dict(saved["frozen"])
