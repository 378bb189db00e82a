"""What time it is: the one thing that triggers and curves may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

History: TypeAlias = Sequence[tuple[int, float]]
"""The values of a metric, each with the iteration at which it arrived; oldest first."""


@dataclass(frozen=True)
class Clock:
    """The state of a training run at one tick; a tick is one completed step.

    Triggers have no memory of their own: what they need to remember is here.

    Attributes:
        iteration: completed steps; 0 is before the first step.
        steps_per_epoch: steps in one epoch; needed by literals in `ep`.
        total_steps: steps in the whole run; needed by literals in `%`.
        metrics: name -> ((iteration, value), ...), oldest first; an engine may leave out those
            that its triggers say they do not read (`Trigger.still_read`).
        events: names of the outside events that happened at this tick.
        last_fired: the iteration at which the asking rule fired last, or None.

    Raises:
        TypeError: a count is no int.
        ValueError: a count is too small.

    >>> Clock(iteration=250, steps_per_epoch=100).epoch
    2
    """

    iteration: int = 0
    steps_per_epoch: int | None = None
    total_steps: int | None = None
    metrics: Mapping[str, History] = field(default_factory=dict)
    events: frozenset[str] = frozenset()
    last_fired: int | None = None

    def __post_init__(self) -> None:
        _check_count("iteration", self.iteration, least=0)
        if self.steps_per_epoch is not None:
            _check_count("steps_per_epoch", self.steps_per_epoch, least=1)
        if self.total_steps is not None:
            _check_count("total_steps", self.total_steps, least=1)
        if self.last_fired is not None:
            _check_count("last_fired", self.last_fired, least=0)

    @property
    def epoch(self) -> int:
        """Completed epochs. Raises ValueError without `steps_per_epoch`."""
        if self.steps_per_epoch is None:
            raise ValueError(
                "Clock.epoch needs the length of an epoch: give steps_per_epoch= "
                "(the number of steps in one epoch)."
            )
        return self.iteration // self.steps_per_epoch


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(
            f"Clock({name}={value!r}): must be an int of at least {least}, "
            f"not {type(value).__name__}."
        )
    if value < least:
        raise ValueError(f"Clock({name}={value!r}): must be at least {least}.")
