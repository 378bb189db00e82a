"""What one unquoted YAML scalar means: null, a boolean, an integer, a float, or text."""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

MAX_INTEGER_DIGITS = 19

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# ASCII digits only: \d and int() would also take other scripts.
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar, by the YAML 1.2 core rules cut down to decimal numbers.

    `1e-3` is a float; `no`, `on`, `yes`, `1:30`, `1_000`, `0x10` and dates are text. A number with
    leading zeros (`012`) is refused, since YAML 1.1 reads it in base eight and 1.2 in base ten.

    Raises:
        ValueError: a leading zero, more than 19 digits, or a float that is not finite.

    >>> [resolve(t) for t in ("1e-3", "no", "1:30", "~", "true", "-7", "5.", "100it")]
    [0.001, 'no', '1:30', None, True, -7, 5.0, '100it']
    """
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if not _FLOAT.fullmatch(text):
        return text
    if _LEADING_ZERO.match(text):
        raise ValueError(
            f"{shorten(text)} has a leading zero, which YAML versions read differently; "
            "leave the zero out, or put quotes around it if it is text"
        )
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-")) > MAX_INTEGER_DIGITS:
            raise ValueError(f"{shorten(text)} has more than {MAX_INTEGER_DIGITS} digits")
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shorten(text)} is too large for a float")
    return number


def shorten(text: str, most: int = 40) -> str:
    """`text` cut to `most` characters for a message.

    >>> shorten("abcdefgh", 6)
    'abc...'
    """
    return text if len(text) <= most else text[: most - 3] + "..."
