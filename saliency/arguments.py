"""Checks of constructor arguments: messages name class, argument, value and valid range."""

from __future__ import annotations

import math


def power(owner: str, value: object) -> None:
    """Raise unless `value` is 1 or 2.

    >>> power("Magnitude", 3)
    Traceback (most recent call last):
    ValueError: Magnitude(p=3): p must be 1 or 2.
    """
    if isinstance(value, bool) or value not in (1, 2):
        raise ValueError(f"{owner}(p={value!r}): p must be 1 or 2.")


def number(owner: str, argument: str, value: object) -> None:
    """Raise unless `value` is a finite number.

    >>> number("Sum", "weights", float("nan"))
    Traceback (most recent call last):
    ValueError: Sum(weights=nan): weights must be finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{owner}({argument}={value!r}): {argument} must be a number, "
            f"not {type(value).__name__}."
        )
    if not math.isfinite(value):
        raise ValueError(f"{owner}({argument}={value!r}): {argument} must be finite.")


def decay(owner: str, value: object) -> None:
    """Raise unless 0 <= `value` < 1.

    >>> decay("Momentum", 1.0)
    Traceback (most recent call last):
    ValueError: Momentum(decay=1.0): decay must lie in 0 <= decay < 1.
    """
    number(owner, "decay", value)
    if not 0 <= value < 1:  # type: ignore[operator]
        raise ValueError(f"{owner}(decay={value!r}): decay must lie in 0 <= decay < 1.")


def point(owner: str, value: object) -> None:
    """Raise unless `value` is the non-empty name of a kept point, such as "init" or "500it".

    >>> point("AnchorMagnitude", 500)
    Traceback (most recent call last):
    TypeError: AnchorMagnitude(anchor=500): anchor must be the name of a kept point, such as 'init'.
    """
    said = f"{owner}(anchor={value!r}): anchor must be the name of a kept point, such as 'init'."
    if not isinstance(value, str):
        raise TypeError(said)
    if not value:
        raise ValueError(said)


def flag(owner: str, argument: str, value: object) -> None:
    """Raise unless `value` is True or False.

    >>> flag("Wanda", "accumulate", 4)
    Traceback (most recent call last):
    TypeError: Wanda(accumulate=4): accumulate must be True or False.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{owner}({argument}={value!r}): {argument} must be True or False.")


def share(owner: str, argument: str, value: object) -> None:
    """Raise unless 0 <= `value` < 1.

    >>> share("ExactOBS", "damp", 2)
    Traceback (most recent call last):
    ValueError: ExactOBS(damp=2): damp must lie in 0 <= damp < 1.
    """
    number(owner, argument, value)
    if not 0 <= value < 1:  # type: ignore[operator]
        raise ValueError(
            f"{owner}({argument}={value!r}): {argument} must lie in 0 <= {argument} < 1."
        )
