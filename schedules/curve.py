"""The base of all curves, and the checks of their numbers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from numbers import Real

# Progress is a quotient of two ints: 29/100 * 100 is 28.999999999999996. An edge between
# two pieces counts as reached when it is nearer than this.
EDGE = 1e-9


class Curve(ABC):
    """How much: a pure function of progress, `curve(progress) -> float`.

    Progress below 0 counts as 0, above 1 as 1. To write one, give `value`; any plain
    function from progress to a number does as well.

    Raises:
        ValueError: when called with NaN, or when the value is not finite.
    """

    def __call__(self, progress: float) -> float:
        """The value at `progress`."""
        if math.isnan(progress):
            raise ValueError(f"{self!r}: progress is NaN; it must be a number from 0 to 1.")
        value = float(self.value(min(1.0, max(0.0, progress))))
        if not math.isfinite(value):
            raise ValueError(f"{self!r}: the value at progress {progress} is {value}.")
        return value

    @abstractmethod
    def value(self, progress: float) -> float:
        """The value at `progress`, which is within 0..1."""


def number(owner: str, value: float) -> float:
    """`value` when it is a finite real number: an int stays an int, the rest is a float.

    Raises:
        TypeError: no number.
        ValueError: NaN or infinite.

    >>> number("linear(a)", 0.5)
    0.5
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{owner}: {value!r} must be a number, not {type(value).__name__}.")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise ValueError(f"{owner}: {value!r} must be finite.")
    return value if isinstance(value, int) else float(value)


def count(owner: str, value: int, least: int) -> int:
    """`value` when it is an int of at least `least`; TypeError or ValueError else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {value!r} must be an int, not {type(value).__name__}.")
    if value < least:
        raise ValueError(f"{owner}: {value} must be at least {least}.")
    return value


def function(owner: str, curve: Callable[[float], float]) -> Callable[[float], float]:
    """`curve` when it can be called; TypeError, which says what to write, else."""
    if callable(curve):
        return curve
    if isinstance(curve, Real) and not isinstance(curve, bool):
        raise TypeError(f"{owner}: {curve!r} is a number; write constant({curve!r}).")
    raise TypeError(f"{owner}: {curve!r} must be a curve, not {type(curve).__name__}.")


def show(curve: Callable[[float], float]) -> str:
    """A curve's call, or a plain function's name."""
    if isinstance(curve, Curve):
        return repr(curve)
    return str(getattr(curve, "__qualname__", repr(curve)))
