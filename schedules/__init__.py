"""When, how much, and what time it is: triggers, curves, clocks."""

from schedules.bounds import after, before, cooldown
from schedules.clock import Clock
from schedules.conditions import on, plateau, when
from schedules.curve import Curve
from schedules.curves import constant, cosine, cubic, exponential, linear, one_cycle
from schedules.piecewise import cyclic, join, staircase
from schedules.preview import Row, Scheduled, preview
from schedules.time import Time, as_time
from schedules.trigger import Trigger
from schedules.triggers import at, every, once

__all__ = [
    "Clock",
    "Curve",
    "Row",
    "Scheduled",
    "Time",
    "Trigger",
    "after",
    "as_time",
    "at",
    "before",
    "constant",
    "cooldown",
    "cosine",
    "cubic",
    "cyclic",
    "every",
    "exponential",
    "join",
    "linear",
    "on",
    "once",
    "one_cycle",
    "plateau",
    "preview",
    "staircase",
    "when",
]
