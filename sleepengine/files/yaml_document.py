"""A document that was read: its plain data, and the place of every key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sleepengine.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """A place in a file; both numbers start at 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """What a file says (`data`: dict, list, str, int, float, bool, None) and where it says it."""

    name: str
    data: Any
    value_marks: Mapping[KeyPath, Mark]
    key_marks: Mapping[KeyPath, Mark]

    def where(self, path: KeyPath) -> Mark:
        """Where the value at `path` begins; for a path that is not there, its nearest parent.

        >>> marks = {(): Mark(1, 1), ("lr",): Mark(1, 5)}
        >>> Document("a.yaml", {"lr": 1}, marks, {}).where(("lr", "missing"))
        Mark(line=1, column=5)
        """
        return _nearest(self.value_marks, tuple(path))

    def where_key(self, path: KeyPath) -> Mark:
        """Where the key of the value at `path` begins; where the value begins if it has no key."""
        path = tuple(path)
        return self.key_marks.get(path) or self.where(path)

    def error(self, path: KeyPath, message: str, *, at_key: bool = False) -> ConfigError:
        """A `ConfigError` that starts with the place of the value (or of the key) at `path`."""
        return error_at(self.name, self.where_key(path) if at_key else self.where(path), message)


def error_at(name: str, mark: Mark, message: str) -> ConfigError:
    """A `ConfigError` whose message is `name:line:column: message`."""
    return ConfigError(f"{name}:{mark.line}:{mark.column}: {message}")


def _nearest(marks: Mapping[KeyPath, Mark], path: KeyPath) -> Mark:
    for end in range(len(path), 0, -1):
        if path[:end] in marks:
            return marks[path[:end]]
    return marks[()]
