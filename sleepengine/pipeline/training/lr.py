"""Learning-rate schedules, whose times are written as times and stepped accordingly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from schedules import Clock, Time
from sleepengine.pipeline.configuration.reading import Call


def schedule_of(call: Call, optimizer: Optimizer, clock: Clock) -> tuple[LRScheduler, bool]:
    """The schedule, and whether it is stepped once per epoch (else once per iteration).

    Per epoch where all of its times are whole epochs ("30ep"), or where it has none; otherwise
    each time is turned into iterations.

    Raises:
        ValueError: the schedule's own complaint.
    """
    per_epoch = all(_whole_epochs(time) for time in _times(call))
    arguments = {name: _counted(value, clock, per_epoch) for name, value in call.arguments.items()}
    made: LRScheduler = call.entry.call(arguments, {"optimizer": optimizer})
    return made, per_epoch


def _times(call: Call) -> Iterator[Time]:
    for value in call.arguments.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Time):
                yield one


def _whole_epochs(time: Time) -> bool:
    return time.percent is None and time.steps == 0 and time.epochs > 0


def _counted(value: Any, clock: Clock, per_epoch: bool) -> Any:
    if isinstance(value, tuple):
        return [_counted(one, clock, per_epoch) for one in value]
    if isinstance(value, Time):
        return value.epochs if per_epoch else value.iterations(clock)
    return value
