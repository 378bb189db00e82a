"""JSON that was read strictly: no doubled keys, no NaN, no depth that ends the process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn


def parse(text: bytes | str) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: it is no JSON, names a key twice, holds NaN or an infinity, or is nested
            deeper than Python can follow.

    >>> parse('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' is there twice
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except RecursionError as fault:
        raise ValueError(str(fault)) from None


def digest(value: Mapping[str, Any]) -> str:
    """sha256 of plain values, whatever the order of their keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not allowed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return found
