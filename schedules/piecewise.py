"""Curves in pieces: staircase, cyclic, join."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from schedules.curve import EDGE, Curve, count, function, number, show


def staircase(curve: Callable[[float], float], steps: int) -> Staircase:
    """`curve(i / (steps - 1))` with `i = min(floor(p steps), steps - 1)`, for progress p.

    `steps` levels of equal length; the first is the start of `curve`, the last its end.

    Raises:
        TypeError: `curve` cannot be called, `steps` is no int.
        ValueError: fewer than 2 steps.

    >>> from schedules import linear
    >>> [staircase(linear(0, 0.8), 3)(p) for p in (0.0, 0.3, 0.4, 0.7, 1.0)]
    [0.0, 0.0, 0.4, 0.8, 0.8]
    """
    return Staircase(curve, steps)


def cyclic(low: float, high: float, cycles: float) -> Cyclic:
    """`low + (high - low) (1 - cos(2 pi cycles p)) / 2`, for progress p.

    Starts at `low`, is at `high` in the middle of each cycle, and ends at `low`, or at
    `high` after a half cycle. One cycle is dense-sparse-dense (Han et al., 2017).

    Raises:
        TypeError: no number.
        ValueError: not finite; cycles not a positive multiple of 1/2.

    >>> [round(cyclic(0, 0.8, 2)(p), 3) for p in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    [0.0, 0.4, 0.8, 0.0, 0.8, 0.0]
    """
    return Cyclic(low, high, cycles)


def join(*parts: tuple[Callable[[float], float], float]) -> Join:
    """Each (curve, until) runs from its start to its end while progress goes to `until`.

    At `until` itself the next part begins; the last `until` is 1.0.

    Raises:
        TypeError: a part is no pair of a curve and a number.
        ValueError: no part; the `until` do not rise from above 0 to 1.

    >>> from schedules import constant, cubic
    >>> ramp = join((constant(0), 0.25), (cubic(0, 0.8), 0.75), (constant(0.8), 1.0))
    >>> [round(ramp(p), 3) for p in (0.0, 0.2, 0.25, 0.5, 0.75, 1.0)]
    [0.0, 0.0, 0.0, 0.7, 0.8, 0.8]
    """
    return Join(parts)


@dataclass(frozen=True, repr=False)
class Staircase(Curve):
    """See `staircase`."""

    curve: Callable[[float], float]
    steps: int

    def __post_init__(self) -> None:
        function("staircase(curve)", self.curve)
        count("staircase(steps)", self.steps, least=2)

    def value(self, progress: float) -> float:
        """The level at `progress`."""
        level = min(math.floor(progress * self.steps + EDGE), self.steps - 1)
        return self.curve(level / (self.steps - 1))

    def __repr__(self) -> str:
        return f"staircase({show(self.curve)}, {self.steps!r})"


@dataclass(frozen=True, repr=False)
class Cyclic(Curve):
    """See `cyclic`."""

    low: float
    high: float
    cycles: float

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high), ("cycles", self.cycles)):
            object.__setattr__(self, name, number(f"cyclic({name})", value))
        if self.cycles <= 0 or (2 * self.cycles) % 1:
            raise ValueError(
                f"cyclic(cycles): {self.cycles!r} must be a positive multiple of 1/2: "
                "whole cycles end at low, half ones at high."
            )

    def value(self, progress: float) -> float:
        """Up and down between low and high, exact at each turn."""
        # Near a turn the cosine is flat and rounds to exactly 1 or -1.
        done = (1 - math.cos(2 * math.pi * self.cycles * progress)) / 2
        value = self.low * (1 - done) + self.high * done
        return min(max(value, min(self.low, self.high)), max(self.low, self.high))

    def __repr__(self) -> str:
        return f"cyclic({self.low!r}, {self.high!r}, {self.cycles!r})"


@dataclass(frozen=True, repr=False)
class Join(Curve):
    """See `join`."""

    parts: tuple[tuple[Callable[[float], float], float], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("join(): give at least one (curve, until).")
        checked = []
        start = 0.0
        for i, part in enumerate(self.parts):
            if not isinstance(part, tuple | list) or len(part) != 2:
                raise TypeError(f"join(part {i}): {part!r} must be a pair (curve, until).")
            curve, until = part
            function(f"join(part {i})", curve)
            until = number(f"join(part {i}, until)", until)
            if until <= start:
                raise ValueError(
                    f"join(part {i}): until={until!r} must be above {start!r}, where it begins."
                )
            checked.append((curve, until))
            start = until
        if start != 1:
            raise ValueError(f"join(part {len(checked) - 1}): the last until={start!r} must be 1.")
        object.__setattr__(self, "parts", tuple(checked))

    def value(self, progress: float) -> float:
        """The value of the part that `progress` falls into."""
        start = 0.0
        for curve, until in self.parts[:-1]:
            if progress < until - EDGE:
                return curve(max(0.0, (progress - start) / (until - start)))
            start = until
        return self.parts[-1][0](max(0.0, (progress - start) / (1 - start)))

    def __repr__(self) -> str:
        parts = ", ".join(f"({show(curve)}, {until!r})" for curve, until in self.parts)
        return f"join({parts})"
