"""Sleep, wake, freeze, thaw, reset, rewind and undo, done to both runs of a pair."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from schedules import once
from sleepengine import Reset, Rewind, Rule, SetupError, Who, by, where

from .masks import Waking, copied
from .networks import NODES
from .pair import Pair

WAKINGS = [
    Waking(value, outgoing, state)
    for value, outgoing in (("parked", "parked"), ("zero", "original"), ("original", "zero"))
    for state in ("keep", "zero", "parked")
]


def transaction(pair: Pair) -> None:
    pair.before = pair.hand.remember()
    pair.last = copied(pair.hand.masks)
    pair.written = False


def part(pair: Pair, seed: int) -> tuple[str, Tensor]:
    """A parameter and some of its entries."""
    generator = torch.Generator().manual_seed(seed)
    names = list(pair.hand.params)
    name = names[seed % len(names)]
    shape = pair.hand.params[name].shape
    return name, torch.rand(shape, generator=generator) < (seed % 5 + 1) / 6


def some_nodes(pair: Pair, seed: int) -> Tensor:
    return torch.tensor([(seed >> bit) & 1 for bit in range(NODES)], dtype=torch.bool)


def change(pair: Pair, layer: str, kind: str, on: bool, seed: int, waking: Waking) -> None:
    transaction(pair)
    verb = {
        ("asleep", True): "sleep",
        ("asleep", False): "wake",
        ("frozen", True): "freeze",
        ("frozen", False): "thaw",
    }[kind, on]
    words = {"value": waking.value, "state": waking.state} if verb == "wake" else {}
    if layer == "nodes":
        name, mask = "hidden", some_nodes(pair, seed)
        if verb == "wake":
            words["outgoing"] = waking.outgoing
    else:
        name, mask = part(pair, seed)
        waking = Waking(waking.value, waking.value, waking.state)
    getattr(pair.engine, f"{verb}_{layer}")(name, mask, **words)
    pair.hand.change(layer, kind, name, mask, on, waking)


def wake(pair: Pair, layer: str, seed: int) -> None:
    """Wake with some policy; first moments come back only where they are kept."""
    waking = WAKINGS[seed % len(WAKINGS)]
    if waking.state == "parked" and pair.setting.park_state != "all":
        waking = Waking(waking.value, waking.outgoing, "keep")
    change(pair, layer, "asleep", False, seed, waking)


def reset(pair: Pair, seed: int) -> None:
    transaction(pair)
    name, mask = part(pair, seed)
    value = "zero" if seed % 2 else "original"
    who = Who(None, amount=by(1.0), params=name, where=where(lambda name, shape: mask))
    pair.engine.fire(Rule(once("0it"), who, Reset(value=value)))
    pair.hand.reset({name: mask}, {name: value})


def reset_nodes(pair: Pair, seed: int) -> None:
    transaction(pair)
    mask = some_nodes(pair, seed)
    awake = pair.hand.nodes(mask & ~pair.hand.masks.nodes["asleep"])
    pair.engine.reset_nodes("hidden", mask, "original", "zero")
    outgoing = ("fc2.weight", "right.weight")
    values = {name: "zero" if name in outgoing else "original" for name in awake}
    pair.hand.reset(awake, values)


def rewind(pair: Pair, seed: int) -> None:
    transaction(pair)
    pair.engine.fire(Rule(once("0it"), None, Rewind(to="init")))
    pair.hand.rewind()


def restored(pair: Pair) -> list[str]:
    """Pending gradients that an undo brings back: those that nobody has written."""
    return [] if pair.written else list(pair.hand.params)


def undo(pair: Pair, seed: int) -> None:
    now = copied(pair.hand.masks)
    if pair.last is None:
        with pytest.raises(SetupError, match="nothing to undo"):
            pair.engine.undo()
        return
    exact = pair.engine.undo()
    assert exact is (pair.before is not None)
    if pair.before is not None:
        pair.hand.go_back(pair.before, restored(pair))
    else:
        pair.hand.turn(copied(pair.last), Waking())
    pair.before, pair.last = None, now  # an undo can be taken back, as masks
