"""How one network ended, and how a whole run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sleepengine.errors import UnknownNameError, did_you_mean

_MORE = frozenset({"tasks", "shared", "shared_layers", "then_accuracy", "unchanged"})


@dataclass(frozen=True)
class Outcome:
    """One trained network: a line of results.jsonl.

    `awake` is the share of maskable weights awake at the end. The best point is the evaluation with
    the lowest validation loss, found afterwards (training never stops early); without a validation
    split there is none. Accuracies are shares, 0 to 1.

    Experiments with masks say more; elsewhere these are None and are not in the line:
        tasks: test accuracy on every task.
        shared: share of the weights of all tasks' masks that this mask and another both have.
        shared_layers: the same for every tensor.
        then_accuracy: test accuracy on the task when it had just been learned.
        unchanged: whether every output on the test data is what it was then, to the bit.
    """

    arm: str
    seed: int
    level: int
    awake: float
    awake_count: int
    maskable: int
    test_accuracy: float | None
    test_loss: float | None
    valid_accuracy: float | None
    valid_loss: float | None
    best_valid_step: int | None
    best_valid_accuracy: float | None
    best_test_accuracy: float | None
    steps: int
    seconds: float
    tasks: Mapping[str, float | None] | None = None
    shared: float | None = None
    shared_layers: Mapping[str, float] | None = None
    then_accuracy: float | None = None
    unchanged: bool | None = None

    def row(self) -> dict[str, Any]:
        """The line as a plain dict; `Outcome(**row)` gives it back."""
        return {n: v for n, v in asdict(self).items() if v is not None or n not in _MORE}


@dataclass(frozen=True)
class RunResult:
    """A run: where its folder is, whether it is finished, and its networks in order."""

    folder: Path
    status: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    def of(self, arm: str, *, level: int = 0) -> tuple[Outcome, ...]:
        """The networks of one arm at one level, one per seed.

        Raises:
            UnknownNameError: no network of that arm was trained.
        """
        arms: Mapping[str, None] = dict.fromkeys(one.arm for one in self.outcomes)
        if arm not in arms:
            raise UnknownNameError(f"no network of arm {arm!r}. {did_you_mean(arm, arms)}")
        return tuple(one for one in self.outcomes if one.arm == arm and one.level == level)
