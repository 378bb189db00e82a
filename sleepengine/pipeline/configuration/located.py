"""Mistakes with their places: every one of a file is found before any is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from sleepengine.errors import ConfigError
from sleepengine.files.yaml_document import Document, KeyPath

MOST_MISTAKES = 100


@dataclass(frozen=True)
class Source:
    """What a configuration says after the settings of the command line, and who says it.

    `settings` maps the path of a value that a setting replaced to the setting's own words.
    """

    document: Document
    data: Any
    settings: Mapping[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath, *, at_key: bool = False) -> str:
        """Where the value (or the key) at `path` stands: `file:line:column`, or the setting."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.settings:
                return self.settings[path[:end]]
        mark = self.document.where_key(path) if at_key else self.document.where(path)
        return f"{self.document.name}:{mark.line}:{mark.column}"

    def order(self, path: KeyPath) -> tuple[int, int]:
        """Line and column, to list mistakes as a reader meets them."""
        mark = self.document.where(path)
        return mark.line, mark.column


@final
class Mistakes:
    """Everything that is wrong with one source, in the order of its lines.

    The hundredth mistake is reported with those before it, without a look at the rest: finding the
    closest name for each of thousands takes time that a hostile file must not have.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, path: KeyPath, message: str, *, at_key: bool = False) -> None:
        """Note one mistake; saying the same of the same place twice counts once.

        Raises:
            ConfigError: it is the hundredth.
        """
        words = " ".join(message.split())
        line = f"{self._source.place(path, at_key=at_key)}: {words}"
        self._found.setdefault(line, self._source.order(path))
        if len(self._found) >= MOST_MISTAKES:
            self.report()

    def __len__(self) -> int:
        return len(self._found)

    def report(self) -> None:
        """Raise ConfigError with one line per mistake; return when there is none."""
        if self._found:
            raise ConfigError("\n".join(sorted(self._found, key=lambda line: self._found[line])))


def shown(value: Any) -> str:
    """A value as a message shows it, with its kind where the look alone could mislead.

    >>> shown("abc"), shown(3), shown(None), shown([1, 2]), shown(True)
    ("'abc' (text)", '3', 'nothing (null)', 'a list', 'true')
    """
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"{value if len(value) <= 60 else value[:57] + '...'!r} (text)"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return repr(value)
