"""How one network ended, and how a whole run did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sleepengine.errors import UnknownNameError, did_you_mean


@dataclass(frozen=True)
class Outcome:
    """One trained network: a line of results.jsonl.

    `awake` is the share of maskable weights awake at the end. The best point is the evaluation with
    the lowest validation loss, found afterwards (training never stops early); without a validation
    split there is none. Accuracies are shares, 0 to 1.
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

    def row(self) -> dict[str, Any]:
        """The line as a plain dict; `Outcome(**row)` gives it back."""
        return asdict(self)


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
