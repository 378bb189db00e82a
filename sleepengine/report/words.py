"""Numbers and names as a reader wants to see them."""

from __future__ import annotations

import math
import unicodedata

from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import Interval

MISSING = "–"
_ARMS = {
    "ticket": "ticket",
    "reinit": "random re-initialisation",
    "random_reinit": "random re-initialisation",
    "random_mask": "random mask",
    "random": "random pruning",
    "dense": "dense network",
    "train": "network",
    "all": "all tasks",
}
_SHORT = {
    "reinit": "random reinit",
    "random_reinit": "random reinit",
    "dense": "dense",
}
# Characters that turn the direction of the text after them.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain(text: str) -> str:
    """`text` on one line, with every control character replaced by a question mark.

    >>> plain("fc1" + chr(27) + "[31m")
    'fc1?[31m'
    """
    return "".join("?" if _controls(letter) else letter for letter in text)


def _controls(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in _TURNING


def short(text: str, most: int = 26) -> str:
    """`text` cut in its middle to `most` characters, since names differ at both ends.

    >>> short("encoder.layers.0.attention.weight", 15)
    'encoder….weight'
    """
    text = plain(text)
    if len(text) <= most:
        return text
    front = most // 2
    return f"{text[:front]}…{text[len(text) - (most - front - 1) :]}"


def arm_name(arm: str) -> str:
    """The words for an arm: those we know, else the name with spaces.

    >>> arm_name("reinit"), arm_name("signed_constant")
    ('random re-initialisation', 'signed constant')
    """
    return _ARMS.get(arm, plain(arm).replace("_", " "))


def arm_short(arm: str) -> str:
    """The same in few letters, for the head of a narrow column.

    >>> arm_short("random_reinit"), arm_short("random_mask")
    ('random reinit', 'random mask')
    """
    return _SHORT.get(arm, arm_name(arm))


def share(value: float) -> str:
    """A share of weights in percent, with more digits where few weights are left.

    Only all weights are 100%, and only none are 0%.

    >>> share(1.0), share(0.9996), share(0.512), share(0.0358), share(0.0042)
    ('100%', '99.96%', '51.2%', '3.6%', '0.42%')
    """
    percent = 100.0 * value
    if not math.isfinite(percent):
        return MISSING
    if percent >= 100.0 or percent <= 0.0:
        digits = 0
    elif percent >= 99.95:
        percent, digits = min(percent, 99.99), 2
    elif percent >= 1.0:
        digits = 1
    else:  # two significant digits
        digits = 1 - math.floor(math.log10(percent))
    return f"{percent:.{digits}f}%"


def digits_for(run: RunData) -> int:
    """Digits of an accuracy in percent: two when the test set can tell such steps apart."""
    return 2 if run.meta.data.test >= 10_000 else 1


def number(value: float | None, digits: int, scale: float = 1.0) -> str:
    """`value` times `scale` with `digits` digits; a dash when there is none.

    >>> number(0.97125, 1, 100.0), number(None, 1)
    ('97.1', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{scale * value:.{digits}f}".replace("-", "−")


def interval_text(
    interval: Interval | None, digits: int, scale: float = 100.0, *, signed: bool = False
) -> str:
    """Mean ± half width; the mean alone for one seed.

    >>> interval_text(Interval(0.971, 0.002, 5), 1), interval_text(Interval(0.971, None, 1), 1)
    ('97.1 ± 0.2', '97.1')
    """
    if interval is None:
        return MISSING
    mean = number(interval.mean, digits, scale)
    if signed and mean != MISSING and scale * interval.mean > 0.0:
        mean = f"+{mean}"
    if interval.half_width is None or mean == MISSING:
        return mean
    return f"{mean} ± {number(interval.half_width, digits, scale)}"


def count(value: int) -> str:
    """A whole number with thin spaces between thousands.

    >>> count(266610) == "266\u202f610"
    True
    """
    return f"{value:,}".replace(",", "\u202f")


def moment(time: str) -> str:
    """A time as run.json writes it, for people.

    >>> moment("2025-03-01T10:00:00+00:00")
    '2025-03-01 10:00:00 UTC'
    """
    return time.replace("T", " ").replace("+00:00", " UTC")


def duration(seconds: float) -> str:
    """A length of time in the two largest units.

    >>> duration(4.21), duration(200), duration(7500)
    ('4.2 s', '3 min 20 s', '2 h 05 min')
    """
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
