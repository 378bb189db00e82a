"""How sure the numbers are: means over seeds with Student's t intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """`mean` ± `half_width` over `n` values; one value alone has no half width."""

    mean: float
    half_width: float | None
    n: int

    @property
    def low(self) -> float:
        """Lower end; the mean itself when there is no half width."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end; the mean itself when there is no half width."""
        return self.mean + (self.half_width or 0.0)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Mean ± t(confidence, n - 1) · s / √n, with s the standard deviation over n - 1.

    Values that are not finite give a mean that is not a number, and no half width.

    Raises:
        ValueError: no values, or `confidence` not between 0 and 1.

    Student (1908).

    >>> interval = mean_interval([1.0, 2.0, 3.0])   # s = 1, t = 4.303
    >>> interval.mean, round(interval.half_width, 3)   # 4.303 / sqrt(3)
    (2.0, 2.484)
    >>> mean_interval([0.5])
    Interval(mean=0.5, half_width=None, n=1)
    """
    n = len(values)
    if n == 0:
        raise ValueError("a mean needs at least one value.")
    if not all(math.isfinite(value) for value in values):
        return Interval(math.nan, None, n)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Interval(mean, t_quantile(confidence, n - 1) * deviation / math.sqrt(n), n)


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], confidence: float = CONFIDENCE
) -> Interval | None:
    """Interval of first[seed] - second[seed] over the seeds that both have; None without any.

    Pairing removes what the seed does to both: data order, initial weights.

    >>> paired_difference({0: 0.75, 1: 1.0, 2: 0.5}, {0: 0.5, 1: 0.75, 3: 0.1})
    Interval(mean=0.25, half_width=0.0, n=2)
    """
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    return mean_interval([first[seed] - second[seed] for seed in seeds], confidence)


def t_inside(t: float, df: int) -> float:
    """P(|T| < t) for Student's t with `df` degrees of freedom: a finite sum in cos² θ.

    θ = atan(t / √df). Odd df: 2/π (θ + sin θ cos θ (1 + 2/3 cos² θ + 2·4/(3·5) cos⁴ θ + ...));
    even df: sin θ (1 + 1/2 cos² θ + 1·3/(2·4) cos⁴ θ + ...).
    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4.

    >>> round(t_inside(1.0, 1), 12)   # Cauchy: half of the mass lies within 1
    0.5
    """
    theta = math.atan2(t, math.sqrt(df))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = df % 2
    term = cosine if odd else 1.0
    terms = [term] if df > 1 else []
    for k in range(2 + odd, df - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        terms.append(term)
    series = sine * math.fsum(terms)
    return 2.0 / math.pi * (theta + series) if odd else series


def t_quantile(confidence: float, df: int) -> float:
    """The t with P(|T| < t) = confidence, found by bisection to the last bits.

    Raises:
        ValueError: `confidence` not strictly between 0 and 1, or `df` below 1.

    >>> round(t_quantile(0.95, 4), 3)
    2.776
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence is a share between 0 and 1, not {confidence!r}.")
    if df < 1:
        raise ValueError(f"degrees of freedom start at 1, not {df!r}.")
    low, high = 0.0, 1.0
    while t_inside(high, df) < confidence:
        low, high = high, 2.0 * high
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return middle
        if t_inside(middle, df) < confidence:
            low = middle
        else:
            high = middle
