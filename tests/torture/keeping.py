"""Compact, expand, detach, save and load, done to both runs of a pair."""

from __future__ import annotations

import io
import itertools
from typing import Any

import torch

from sleepengine import SetupError
from sleepengine.errors import StateError

from .masks import copied
from .networks import NODES
from .pair import Pair
from .training import zero_grad

ORDERS = list(itertools.permutations(["model", "optimizer", "scheduler", "engine"]))


def through_file(state: Any) -> Any:
    """What comes back from torch.save and torch.load(weights_only=True)."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def compact(pair: Pair, seed: int) -> None:
    try:
        made = pair.engine.compact(example_inputs=pair.network.batch(seed))
    except SetupError:
        pair.refused += 1
        return
    if made:
        pair.shrunk += 1
        awake = int((~pair.hand.masks.nodes["asleep"]).sum())
        assert pair.model.fc1.weight.shape[0] == awake < NODES


def expand(pair: Pair, seed: int) -> None:
    pair.engine.expand()
    assert not pair.engine.compacted


def detach(pair: Pair, seed: int) -> None:
    pair.engine.detach()
    pair.engine.attach()
    pair.before = None


def save(pair: Pair, seed: int) -> None:
    """What load() goes back to."""
    by_hand = pair.hand.remember()
    pair.saved = (through_file(states(pair)), by_hand, copied(pair.last))


def states(pair: Pair) -> dict[str, Any]:
    return {name: part.state_dict() for name, part in parts(pair).items()}


def parts(pair: Pair) -> dict[str, Any]:
    return {
        "model": pair.model,
        "optimizer": pair.optimizer,
        "scheduler": pair.scheduler,
        "engine": pair.engine,
    }


def take(pair: Pair, saved: dict[str, Any], seed: int) -> None:
    into = parts(pair)
    for name in ORDERS[seed % len(ORDERS)]:
        into[name].load_state_dict(copied(saved[name]))  # torch keeps the tensors it is given


def load(pair: Pair, seed: int) -> None:
    """Back to what was saved, into the run as it stands."""
    if pair.saved is not None:
        zero_grad(pair, 0)
        saved, by_hand, last = pair.saved
        try:
            if seed % 3:
                raise StateError("only one in three is loaded by an attached engine")
            take(pair, saved, seed)
        except StateError:  # of an attached engine with masks that the saved one has not
            pair.engine.detach()
            take(pair, saved, seed)
            pair.engine.attach()
        pair.hand.go_back(by_hand)
        pair.hand.load_state()
        pair.before, pair.last = None, copied(last)


def reload(pair: Pair, seed: int) -> None:
    """Save all, build all anew, load it."""
    zero_grad(pair, 0)
    saved = through_file(states(pair))
    pair.engine.detach()
    pair.start(seed % 7)
    take(pair, saved, seed)
    pair.hand.load_state()
    pair.before = None
