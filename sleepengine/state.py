"""Save and load an engine: check everything first, then apply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from sleepengine.enforcement.frozen_values import read_frozen
from sleepengine.errors import StateError
from sleepengine.journal import Journal
from sleepengine.masks import bits
from sleepengine.masks.choice import Kind, Layer
from sleepengine.masks.parking import Parking
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks

if TYPE_CHECKING:
    from sleepengine.engine import SleepEngine

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
    "waiting",
    "window",
    "carries",
    "memories",
    "kept_points",
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
    return {
        "format": FORMAT,
        "rules": _digest(engine),
        "seed": live.seed,
        "event": live.event,
        "masks": live.store.state_dict(),
        "nodes": live.nodes.store.state_dict(),
        "statistics": live.held.state_dict(),
        "parked": live.parked.state_dict(),
        "frozen": engine.enforcer.state_dict(),
        "optimizer_state": live.state.state_dict(),
        "clock": engine.time.state_dict(),
        "looked": -1 if agenda.looked is None else agenda.looked,
        "waiting": [rule.name for rule in agenda.waiting],
        "window": agenda.window,
        "carries": dict(engine.firing.carries),
        "memories": {
            rule.name: {
                "scorer": {} if rule.who.scorer is None else rule.who.scorer.state_dict(),
                "filters": [one.state_dict() for one in rule.who.filters],
            }
            for rule in engine.rules
            if rule.who is not None
        },
        "kept_points": live.kept.state_dict(),
        "journal": engine.journal.state_dict(),
    }


def load(engine: SleepEngine, saved: Mapping[str, Any]) -> None:
    """Check all of it against the engine, then apply all of it.

    Raises:
        StateError: anything does not fit; nothing was changed.
    """
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
    _check_nodes(masks, nodes, statistics)
    parked = live.parked.copy()
    parked.load_state_dict(saved["parked"])
    _check_parked(masks, parked)
    kept = live.kept.check(saved["kept_points"], live)
    journal = Journal({n: live.store.shape(n) for n in live.store.names()})
    journal.load_state_dict(saved["journal"])
    names = {rule.name: rule for rule in engine.rules}
    unknown = [name for name in saved["waiting"] if name not in names]
    if unknown:
        raise StateError(f"the saved engine waits for unknown rules {unknown}")
    read_frozen(saved["frozen"], masks, live.state.roster)

    _apply(engine, saved, masks)
    live.nodes.store.load_state_dict(saved["nodes"])
    live.held.load(statistics)
    live.kept.replace(kept)
    agenda = engine.conductor.agenda
    agenda.restart()
    agenda.looked = None if saved["looked"] < 0 else int(saved["looked"])
    agenda.waiting = [names[name] for name in saved["waiting"]]
    agenda.window = int(saved["window"])
    for name, memory in saved["memories"].items():
        who = names[name].who
        if who is not None and who.scorer is not None:
            who.scorer.load_state_dict(memory["scorer"])
        for one, kept_state in zip(
            () if who is None else who.filters, memory["filters"], strict=True
        ):
            one.load_state_dict(kept_state)


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
    live.state.adopt(
        {
            n: bits.bit_not(t, masks.numel(n))
            for n in masks.entries()
            if (t := masks.trainable_bits(n)) is not None
        }
    )
    live.state.load_state_dict(saved["optimizer_state"])
    engine.time.load_state_dict(saved["clock"])
    engine.firing.carries = dict(saved["carries"])
    engine.journal.load_state_dict(saved["journal"])
    engine.enforcer.sync(old | set(live.store.entries()))
    engine.enforcer.load_state_dict(saved["frozen"])


def _check_nodes(masks: MaskStore, nodes: NodeMasks, statistics: Mapping[str, Any]) -> None:
    for kind in Kind:
        derived = nodes.covered(kind)
        for name in masks.names():
            said = masks.layer_bits(name, Layer.NODES, kind)
            right = derived.bits(name).to(masks.device(name)) if name in derived else None
            if right is not None and not bits.any_set(right):
                right = None
            if (said is None) != (right is None) or (
                said is not None and right is not None and not torch.equal(said, right)
            ):
                raise StateError(
                    f"{kind.value} entries of {name!r} are not those of the {kind.value} nodes"
                )
    held = nodes.held()
    for name in held.keys() | statistics.keys():
        if name not in held or name not in statistics:
            if name in held and not bool(held[name].any()):
                continue
            raise StateError(f"the statistics {name!r} are held for other nodes than the saved")
        if not torch.equal(held[name].cpu(), statistics[name][0].cpu()):
            raise StateError(f"the statistics {name!r} are held for other nodes than the saved")


def _check_parked(masks: MaskStore, parked: Parking) -> None:
    for name in parked.occupied():
        asleep = masks.asleep_bits(name)
        if asleep is None or bits.any_set(
            bits.bit_andnot(parked[name].bits.to(asleep.device), asleep)
        ):
            raise StateError(f"values of {name!r} are parked where nothing sleeps")
    for name in masks.entries():
        asleep, stored = masks.asleep_bits(name), parked[name].bits
        if asleep is not None and bits.any_set(bits.bit_andnot(asleep, stored.to(asleep.device))):
            raise StateError(f"sleepers of {name!r} have no parked value")
