"""Plain data written as YAML text that a person can read and `strict_yaml.load` reads back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sleepengine.errors import ConfigError
from sleepengine.files.yaml_scalars import resolve, shorten

_WIDTH = 88
# Implicit keys may not be longer than this in YAML; longer ones take the `? key` form.
_LONGEST_KEY = 1000
# Text that no YAML rule could read as something else, wherever it stands.
_SAFE = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./%+*@=-]*( [A-Za-z0-9_./%+*@=-]+)*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def write(data: Any, max_depth: int) -> str:
    """YAML text of dicts (text keys), lists, str, int, float, bool and None.

    Raises:
        ConfigError: another type, a key that is not text, or more than `max_depth` levels.

    >>> print(write({"a": [1, "no way"], "b": {"c": "012"}, "d": []}, 24), end="")
    a: [1, no way]
    b:
      c: "012"
    d: []
    """
    return "\n".join(_lines(data, "", "the data", max_depth)) + "\n"


def _lines(data: Any, indent: str, where: str, depth: int) -> Iterator[str]:
    """The lines of one value, each indented."""
    flat = _flat(data, where, len(indent))
    if flat is not None:
        yield indent + flat
        return
    if depth == 0:
        raise ConfigError(f"{where}: nested too deep to be written")
    if type(data) is list:
        for index, item in enumerate(data):
            yield from _after_dash(item, indent, f"{where}[{index}]", depth - 1)
        return
    for key, value in data.items():
        if type(key) is not str:
            raise ConfigError(f"{where}: a key must be text, found {key!r}")
        inner = f"{where}[{shorten(key)!r}]"
        name = _text(key)
        if len(name) > _LONGEST_KEY:
            yield f"{indent}? {name}"
            name = ""
        flat = _flat(value, inner, len(indent) + len(name) + 2)
        if flat is not None:
            yield f"{indent}{name}: {flat}"
        else:
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ", inner, depth - 1)


def _after_dash(item: Any, indent: str, where: str, depth: int) -> Iterator[str]:
    lines = _lines(item, indent + "  ", where, depth)
    yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
    yield from lines


def _flat(data: Any, where: str, used: int) -> str | None:
    """`data` on one line: a scalar, something empty, or a short list of scalars; else None."""
    if type(data) is dict:
        return None if data else "{}"
    if type(data) is not list:
        return _scalar(data, where)
    if not data:
        return "[]"
    if any(type(item) in (dict, list) for item in data):
        return None
    joined = ", ".join(_scalar(item, f"{where}[{i}]") for i, item in enumerate(data))
    return f"[{joined}]" if used + len(joined) + 2 <= _WIDTH else None


def _scalar(value: Any, where: str) -> str:
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (int, float):
        return repr(value).replace("inf", ".inf").replace("nan", ".nan")
    if type(value) is str:
        return _text(value)
    raise ConfigError(f"{where}: {type(value).__name__} cannot be written as YAML data")


def _text(text: str) -> str:
    if _SAFE.fullmatch(text) and _is_text(text):
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _is_text(text: str) -> bool:
    try:
        return resolve(text) == text
    except ValueError:
        return False


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable() and letter != "\ufeff":
        return letter
    code = ord(letter)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
