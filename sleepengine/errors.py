"""Errors: each names the object, the wrong value, what is valid and the closest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SleepError(Exception):
    """Base of every error that the engine raises on purpose."""


class SetupError(SleepError, ValueError):
    """What was asked for cannot work; raised at construction or attach, before anything changes."""


class UnknownNameError(SetupError):
    """A name or pattern matches nothing."""


class StateError(SleepError, ValueError):
    """A saved state does not fit: a name, shape, dtype or count differs. Nothing was applied."""


class LeakError(SleepError, RuntimeError):
    """A sleeping weight is not zero, or a frozen one moved."""


class ScheduleError(SleepError, ValueError):
    """A schedule cannot reach, or did not reach, its target."""


class CollapseError(SleepError, ValueError):
    """A tensor would lose its last awake unit."""


class ConfigError(SleepError, ValueError):
    """A configuration file is wrong; the message starts with `file:line:column`."""


class FileError(SleepError, ValueError):
    """A file of ours is damaged, truncated, or not ours."""


def shortened(value: object, longest: int = 60) -> str:
    """The value as it is written, on one line and cut where it is long.

    >>> shortened(list(range(100)), longest=12)
    '[0, 1, 2,...'
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def closest(name: str, valid: Iterable[str], most: int = 3) -> list[str]:
    """The valid names nearest to `name`, best first.

    >>> closest("fc1.wieght", ["fc1.weight", "fc1.bias", "conv.weight"])
    ['fc1.weight', 'conv.weight', 'fc1.bias']
    """
    return difflib.get_close_matches(name, list(valid), n=most, cutoff=0.4)


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The nearest valid name, if one is near, and the valid names, the first of many.

    >>> did_you_mean("Magnitud", ["Magnitude", "Random"])
    "Did you mean 'Magnitude'? Valid: 'Magnitude', 'Random'."
    """
    choices = list(valid)
    if not choices:
        return "There is nothing to choose from."
    near = closest(name, choices, most=1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(repr(c) for c in choices[:12])
    more = f", and {len(choices) - 12} more" if len(choices) > 12 else ""
    return f"{meant}Valid: {shown}{more}."
