"""Every operation by its name, and how often it is drawn."""

from __future__ import annotations

from collections.abc import Callable

from . import keeping, training, turning
from .masks import Waking
from .pair import Pair

Operation = Callable[[Pair, int], None]


def _changes(layer: str, kind: str, on: bool) -> Operation:
    return lambda pair, seed: turning.change(pair, layer, kind, on, seed, Waking())


OPERATIONS: dict[str, Operation] = {
    "step": training.step,
    "closure": training.closure,
    "accumulate": training.accumulate,
    "backward": training.backward,
    "late": training.late,
    "idle": training.idle,
    "zero_grad": training.zero_grad,
    "sleep": _changes("weights", "asleep", True),
    "wake": lambda pair, seed: turning.wake(pair, "weights", seed),
    "freeze": _changes("weights", "frozen", True),
    "thaw": _changes("weights", "frozen", False),
    "sleep_nodes": _changes("nodes", "asleep", True),
    "wake_nodes": lambda pair, seed: turning.wake(pair, "nodes", seed),
    "freeze_nodes": _changes("nodes", "frozen", True),
    "thaw_nodes": _changes("nodes", "frozen", False),
    "reset": turning.reset,
    "reset_nodes": turning.reset_nodes,
    "rewind": turning.rewind,
    "undo": turning.undo,
    "compact": keeping.compact,
    "expand": keeping.expand,
    "detach": keeping.detach,
    "save": keeping.save,
    "load": keeping.load,
    "reload": keeping.reload,
}

SHARES = {
    "step": 6,
    "closure": 1,
    "accumulate": 2,
    "backward": 2,
    "late": 2,
    "idle": 1,
    "zero_grad": 1,
    "sleep": 3,
    "wake": 3,
    "freeze": 2,
    "thaw": 2,
    "sleep_nodes": 3,
    "wake_nodes": 2,
    "freeze_nodes": 1,
    "thaw_nodes": 1,
    "reset": 1,
    "reset_nodes": 1,
    "rewind": 1,
    "undo": 3,
    "compact": 3,
    "expand": 1,
    "detach": 1,
    "save": 1,
    "load": 2,
    "reload": 1,
}
