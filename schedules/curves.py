"""Curves from one value to another: constant, linear, cosine, cubic, exponential, one_cycle."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from schedules.curve import Curve, number


def constant(value: float) -> Constant:
    """Always `value`. Raises TypeError or ValueError when it is no finite number.

    >>> constant(0.9)(0.3)
    0.9
    """
    return Constant(value)


def linear(a: float, b: float) -> Linear:
    """`a + (b - a) p`, for progress p. Raises TypeError or ValueError when not finite numbers.

    >>> [linear(0, 0.8)(p) for p in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.2, 0.4, 0.8]
    """
    return Linear(a, b)


def cosine(a: float, b: float) -> Cosine:
    """`b + (a - b) (1 + cos(pi p)) / 2`, for progress p: slow at both ends.

    With b = 0 the decay of the drop fraction in RigL (Evci et al., 2020).
    Raises TypeError or ValueError when not finite numbers.

    >>> [round(cosine(0.3, 0)(p), 3) for p in (0.0, 0.5, 1.0)]
    [0.3, 0.15, 0.0]
    """
    return Cosine(a, b)


def cubic(a: float, b: float) -> Cubic:
    """`b + (a - b) (1 - p)^3`, for progress p: fast first, then slower and slower.

    Automated gradual pruning (AGP), Zhu and Gupta, 2017.
    Raises TypeError or ValueError when not finite numbers.

    >>> [cubic(0, 0.8)(p) for p in (0.0, 0.5, 1.0)]  # 0.8 * (1 - 1/8)
    [0.0, 0.7000000000000001, 0.8]
    """
    return Cubic(a, b)


def exponential(a: float, b: float, ratio: float = 0.01) -> Exponential:
    """`b + (a - b) (ratio^p - ratio) / (1 - ratio)`, for progress p: geometric.

    Defined for any a and b, also 0: ratio^p falls by the same factor in equal times, from
    1 to `ratio`, and is then shifted and scaled. The value itself falls geometrically when
    ratio = b / a. What is left awake falls geometrically when ratio = (1 - b) / (1 - a), as
    it does when each round takes the same share of the rest.
    A ratio above 1 starts slowly and ends fast.

    Raises:
        TypeError: no number.
        ValueError: not finite; ratio not positive, or 1 (which would be linear).

    >>> [round(exponential(1, 0.01)(p), 3) for p in (0.0, 0.5, 1.0)]  # 1, 1/10, 1/100
    [1.0, 0.1, 0.01]
    >>> [round(exponential(0, 0.99)(p), 3) for p in (0.0, 0.5, 1.0)]
    [0.0, 0.9, 0.99]
    """
    return Exponential(a, b, ratio)


def one_cycle(a: float, b: float) -> OneCycle:
    """`a + (b - a) (g(p) - g(0)) / (g(1) - g(0))` with `g(p) = 1 / (1 + exp(6 - 14 p))`.

    A long rise in the middle of training, slow at both ends; half of the way is done near
    p = 6/14. One-Cycle Pruning (Hubens et al., 2022), shifted and scaled by less than
    0.3 % so that it starts at a and ends at b.
    Raises TypeError or ValueError when not finite numbers.

    >>> [round(one_cycle(0, 1)(p), 3) for p in (0.0, 6 / 14, 0.5, 1.0)]
    [0.0, 0.499, 0.731, 1.0]
    """
    return OneCycle(a, b)


@dataclass(frozen=True, repr=False)
class Constant(Curve):
    """See `constant`."""

    level: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", number("constant(value)", self.level))

    def value(self, progress: float) -> float:
        """The one value."""
        return self.level

    def __repr__(self) -> str:
        return f"constant({self.level!r})"


@dataclass(frozen=True, repr=False)
class TwoPoint(Curve):
    """A curve from `a` to `b` that never leaves the range between them."""

    a: float
    b: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", number(f"{self.word}(a)", self.a))
        object.__setattr__(self, "b", number(f"{self.word}(b)", self.b))

    @property
    @abstractmethod
    def word(self) -> str:
        """The function that makes this curve."""

    @abstractmethod
    def left(self, progress: float) -> float:
        """The share of the way that is left: 1 at progress 0, 0 at progress 1."""

    def value(self, progress: float) -> float:
        """The mean of `a` and `b`, weighted by what is left and what is done."""
        if progress in (0, 1):
            return self.b if progress else self.a
        left = self.left(progress)
        value = self.a * left + self.b * (1 - left)
        return min(max(value, min(self.a, self.b)), max(self.a, self.b))

    def __repr__(self) -> str:
        return f"{self.word}({self.a!r}, {self.b!r})"


@dataclass(frozen=True, repr=False)
class Linear(TwoPoint):
    """See `linear`."""

    word = "linear"

    def left(self, progress: float) -> float:
        """1 - p."""
        return 1 - progress


@dataclass(frozen=True, repr=False)
class Cosine(TwoPoint):
    """See `cosine`."""

    word = "cosine"

    def left(self, progress: float) -> float:
        """(1 + cos(pi p)) / 2."""
        return (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, repr=False)
class Cubic(TwoPoint):
    """See `cubic`."""

    word = "cubic"

    def left(self, progress: float) -> float:
        """(1 - p)^3."""
        return (1 - progress) ** 3


@dataclass(frozen=True, repr=False)
class Exponential(TwoPoint):
    """See `exponential`."""

    ratio: float = 0.01

    word = "exponential"

    def __post_init__(self) -> None:
        TwoPoint.__post_init__(self)
        object.__setattr__(self, "ratio", number("exponential(ratio)", self.ratio))
        if self.ratio <= 0 or self.ratio == 1:
            raise ValueError(
                f"exponential(ratio): {self.ratio!r} must be above 0 and not 1 "
                "(for a straight line write linear)."
            )

    def left(self, progress: float) -> float:
        """(ratio^p - ratio) / (1 - ratio), without its rounding error near ratio 1."""
        log = math.log(self.ratio)
        return 1 - math.expm1(progress * log) / math.expm1(log)

    def __repr__(self) -> str:
        ratio = "" if self.ratio == 0.01 else f", ratio={self.ratio!r}"
        return f"exponential({self.a!r}, {self.b!r}{ratio})"


@dataclass(frozen=True, repr=False)
class OneCycle(TwoPoint):
    """See `one_cycle`."""

    word = "one_cycle"

    def left(self, progress: float) -> float:
        """(g(1) - g(p)) / (g(1) - g(0))."""
        first, last = _logistic(0.0), _logistic(1.0)
        return (last - _logistic(progress)) / (last - first)


def _logistic(progress: float) -> float:
    return 1 / (1 + math.exp(6 - 14 * progress))
