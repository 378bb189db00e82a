"""Types of arguments in words, and whether a plain value could be one."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from schedules import Time
from sleepengine.pipeline.configuration.entries import Kind
from sleepengine.rules.rule import Who

_LISTS = (list, Sequence, Iterable, tuple)
_PLAIN = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type; text that means one of the others counts once.

    >>> members(int | None), members(str | Time) == (Time,)
    ((<class 'int'>, <class 'NoneType'>), True)
    """
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return (hint,)
    found = [m for part in typing.get_args(hint) for m in members(part)]
    if str in found:
        # A constructor that takes words takes them for its enumerations.
        found = [m for m in found if not is_words(m)]
    return tuple(m for m in found if m is not str or Time not in found)


def is_list(hint: Any) -> bool:
    """Whether the type is written as a list."""
    return hint in _LISTS or typing.get_origin(hint) in _LISTS


def is_fixed(hint: Any) -> bool:
    """Whether the type is a tuple of a known length."""
    parts = typing.get_args(hint)
    return typing.get_origin(hint) is tuple and bool(parts) and parts[-1] is not Ellipsis


def is_words(hint: Any) -> bool:
    """Whether the type is an enumeration, whose members are written as words."""
    return isinstance(hint, type) and issubclass(hint, Enum)


def words_of(hint: Any) -> dict[str, Any]:
    """The words of an enumeration -> its members."""
    return {member.name.lower(): member for member in hint}


def item(hint: Any) -> Any:
    """The type of the items of a list."""
    parts = typing.get_args(hint)
    return parts[0] if parts else Any


def fits(hint: Any, data: Any, kinds: Mapping[Any, Kind]) -> bool:
    """Whether `data` has the outer look of `hint`; what is inside is checked later."""
    if hint is Any:
        return True
    if hint is type(None):
        return data is None
    if hint is float:
        return type(data) in (int, float)
    if hint in (bool, int, str):
        return type(data) is hint
    if hint is Time:
        return isinstance(data, str | int) and not isinstance(data, bool)
    if typing.get_origin(hint) is typing.Literal or is_words(hint):
        return isinstance(data, str)
    if hint in kinds:
        return isinstance(data, str | dict)
    if hint is Who or typing.get_origin(hint) in (dict, Mapping):
        return isinstance(data, dict)
    return is_list(hint) and isinstance(data, list)


def in_words(hint: Any, kinds: Mapping[Any, Kind]) -> str:
    """What a message asks for.

    >>> in_words(int | None, {}), in_words(tuple[int, int], {})
    ('a whole number', 'a list of 2: a whole number, a whole number')
    """
    found = dict.fromkeys(word for m in members(hint) if (word := _one(m, kinds)))
    return " or ".join(found) or "left out: no file can hold it"


def _one(hint: Any, kinds: Mapping[Any, Kind]) -> str:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint in kinds:
        noun = kinds[hint].noun
        return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    if hint is Time:
        return "a time, such as 500it or 10ep"
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(hint))
    if is_words(hint):
        return " or ".join(map(repr, words_of(hint)))
    if hint is Who or origin in (dict, Mapping):
        return "a mapping"
    if is_fixed(hint):
        parts = typing.get_args(hint)
        return f"a list of {len(parts)}: {', '.join(in_words(p, kinds) for p in parts)}"
    if is_list(hint):
        return f"a list of {in_words(item(hint), kinds)}" if typing.get_args(hint) else "a list"
    return ""  # None, tensors, functions: never written in a file
