"""Time literals: "500it", "10ep", "3ep50it", "50%"."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from decimal import Decimal

from schedules.clock import Clock

_COUNTED = re.compile(r"(?:([0-9]{1,15})ep)?(?:([0-9]{1,15})it)?")
_PERCENT = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,12})?)%")
_NEARLY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+|%)\s*")
_NUMBER = re.compile(r"\s*[0-9]+\s*")
_FORMS = "Valid forms: '500it' (steps), '10ep' (epochs), '3ep50it' (both), '50%' (of the run)."
# What people write for a unit -> the unit.
_UNITS = {
    "it": "it",
    "its": "it",
    "iter": "it",
    "iters": "it",
    "iteration": "it",
    "iterations": "it",
    "step": "it",
    "steps": "it",
    "ep": "ep",
    "eps": "ep",
    "epoch": "ep",
    "epochs": "ep",
    "percent": "%",
    "pct": "%",
    "%": "%",
}


@dataclass(frozen=True, repr=False)
class Time:
    """A point or length of time: `epochs * steps_per_epoch + steps`, or `percent` of the run.

    "0it" is before the first step, "5ep" is after five complete epochs. A percentage
    gives floor(percent / 100 * total_steps + 1/2). `str()` gives the literal back.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a field is negative, percent is above 100 or is mixed with the others.

    >>> Time.parse("3ep50it")
    Time.parse('3ep50it')
    >>> Time.parse("3ep50it").iterations(Clock(steps_per_epoch=100))
    350
    >>> Time.parse("12.5%").iterations(Clock(total_steps=1000))
    125
    """

    epochs: int = 0
    steps: int = 0
    percent: Decimal | None = None

    def __post_init__(self) -> None:
        for name, count in (("epochs", self.epochs), ("steps", self.steps)):
            if not isinstance(count, int) or isinstance(count, bool):
                raise TypeError(f"Time({name}={count!r}): must be an int.")
            if count < 0:
                raise ValueError(f"Time({name}={count!r}): must not be negative.")
        if self.percent is None:
            return
        if not isinstance(self.percent, Decimal):
            raise TypeError(f"Time(percent={self.percent!r}): must be a decimal.Decimal.")
        if not self.percent.is_finite() or not 0 <= self.percent <= 100:
            raise ValueError(f"Time: {self.percent}% is outside 0% to 100%.")
        if self.epochs or self.steps:
            raise ValueError(
                f"Time(epochs={self.epochs}, steps={self.steps}, percent={self.percent}): "
                "a percentage stands alone."
            )

    @staticmethod
    def parse(text: str) -> Time:
        """The time that `text` says. Raises ValueError, which names the nearest valid literal."""
        if not isinstance(text, str):
            return as_time(text, "Time.parse")
        counted = _COUNTED.fullmatch(text)
        if counted and text:
            return Time(epochs=int(counted[1] or 0), steps=int(counted[2] or 0))
        percent = _PERCENT.fullmatch(text)
        if percent:
            return Time(percent=Decimal(percent[1]))
        raise ValueError(f"{text!r} is not a time. {_hint(text)}{_FORMS}")

    def iterations(self, clock: Clock) -> int:
        """This time in steps.

        Raises:
            ValueError: the clock lacks steps_per_epoch or total_steps and this time needs it.
        """
        if self.percent is not None:
            if clock.total_steps is None:
                raise ValueError(
                    f"'{self}' needs the length of the run: give total_steps= "
                    "(the number of steps in the whole run)."
                )
            top, bottom = self.percent.as_integer_ratio()
            return (2 * top * clock.total_steps + 100 * bottom) // (200 * bottom)
        if not self.epochs:
            return self.steps
        if clock.steps_per_epoch is None:
            raise ValueError(
                f"'{self}' needs the length of an epoch: give steps_per_epoch= "
                "(the number of steps in one epoch)."
            )
        return self.epochs * clock.steps_per_epoch + self.steps

    @property
    def is_zero(self) -> bool:
        """True for "0it", "0ep" and "0%"."""
        return not (self.epochs or self.steps or self.percent)

    def is_earlier(self, other: Time) -> bool:
        """True when this is earlier than `other` whatever the lengths of epochs and run.

        >>> Time.parse("1ep").is_earlier(Time.parse("2ep"))
        True
        >>> Time.parse("1ep").is_earlier(Time.parse("500it"))  # nobody knows
        False
        """
        if self.percent is not None and other.percent is not None:
            return self.percent < other.percent
        if self.percent is not None or other.percent is not None:
            return False
        return self != other and self.epochs <= other.epochs and self.steps <= other.steps

    def __str__(self) -> str:
        if self.percent is not None:
            digits = format(self.percent, "f")
            return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + "%"
        epochs = f"{self.epochs}ep" if self.epochs else ""
        return epochs + (f"{self.steps}it" if self.steps or not epochs else "")

    def __repr__(self) -> str:
        return f"Time.parse('{self}')"


def as_time(value: str | Time, owner: str) -> Time:
    """`value` as a Time; the messages of errors start with `owner`.

    Raises:
        TypeError: `value` is neither text nor Time; a bare number does not say its unit.
        ValueError: `value` is no time literal.

    >>> as_time("500it", "once")
    Time.parse('500it')
    """
    if isinstance(value, Time):
        return value
    if isinstance(value, str):
        try:
            return Time.parse(value)
        except ValueError as error:
            raise ValueError(f"{owner}: {error}") from None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        raise TypeError(f"{owner}: {value} has no unit; write '{value}it' or '{value}ep'.")
    raise TypeError(f"{owner}: {value!r} ({type(value).__name__}) is not a time. {_FORMS}")


def _hint(text: str) -> str:
    if _NUMBER.fullmatch(text):
        number = text.strip()
        return f"Did you mean '{number}it' or '{number}ep'? "
    nearly = _NEARLY.fullmatch(text)
    if nearly:
        near = difflib.get_close_matches(nearly[2].lower(), _UNITS, n=1, cutoff=0.5)
        if near and ("." not in nearly[1] or _UNITS[near[0]] == "%"):
            suggestion = nearly[1] + _UNITS[near[0]]
            return f"Did you mean '{suggestion}'? " if suggestion != text else "Too many digits. "
        if near:
            return "Steps and epochs are whole numbers. "
    if text.lstrip().startswith("-"):
        return "Times are not negative. "
    if re.fullmatch(r"([0-9]+)it([0-9]+)ep", text):
        steps, epochs = re.findall("[0-9]+", text)
        return f"Did you mean '{epochs}ep{steps}it'? "
    return ""
