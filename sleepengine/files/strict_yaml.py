"""A strict reader for YAML: plain data and where each value stands, nothing else.

Only the event stream of PyYAML's pure Python parser is used, so that no object is ever built from
a tag. Tags, anchors, aliases, merge keys, directives, duplicate keys and second documents are
refused, and every size is bounded before memory or the call stack can grow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml import events as ev

from sleepengine.errors import ConfigError
from sleepengine.files import yaml_text
from sleepengine.files.yaml_document import Document, KeyPath, Mark, error_at
from sleepengine.files.yaml_scalars import resolve, shorten

__all__ = ["Document", "Mark", "dump", "load", "load_file"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_NODES = 20_000
MAX_SCALAR = 8 * 1024


def load(text: str, name: str) -> Document:
    r"""The single document in `text`; `name` stands for the file in messages.

    Unquoted scalars follow `yaml_scalars.resolve`. An empty document is None. Limits: 256 KiB of
    UTF-8, 24 levels, 20,000 nodes, 8 KiB per scalar, 19 digits per integer, finite floats.

    Raises:
        ConfigError: for every fault, as `name:line:column: message`.

    >>> load("rate: 1e-3\nsizes: [300, 100]\nshuffle: no", "a.yaml").data
    {'rate': 0.001, 'sizes': [300, 100], 'shuffle': 'no'}
    >>> load("lr: 1\nlr: 2", "a.yaml")
    Traceback (most recent call last):
    sleepengine.errors.ConfigError: a.yaml:2:1: the key 'lr' is here twice; first at line 1
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as fault:
        place = _mark_at(text, fault.start)
        raise error_at(name, place, "half of a surrogate pair is not text") from None
    if size > MAX_BYTES:
        raise error_at(name, Mark(1, 1), f"{size} bytes are more than the limit of {MAX_BYTES}")
    return _Reader(name, text).document()


def load_file(path: str | os.PathLike[str]) -> Document:
    """The document in a UTF-8 file.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or `load` refuses it.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise error_at(name, Mark(1, 1), f"the file cannot be read: {reason}") from fault
    if len(raw) > MAX_BYTES:
        raise error_at(name, Mark(1, 1), f"the file is larger than the limit of {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as fault:
        place = _mark_at(raw[: fault.start].decode("utf-8"), fault.start)
        message = f"the byte 0x{raw[fault.start]:02x} is not UTF-8 text"
        raise error_at(name, place, message) from None
    return load(text, str(Path(name)))


def dump(data: Any) -> str:
    """Readable YAML in block style that `load` reads back equal.

    Raises:
        ConfigError: `data` holds something that `load` could not give back.

    >>> print(dump({"name": "rigl", "sizes": [300, 100], "rules": [{"when": "5ep"}]}), end="")
    name: rigl
    sizes: [300, 100]
    rules:
      - when: 5ep
    """
    text = yaml_text.write(data, MAX_DEPTH)
    load(text, "<dump>")
    return text


def _mark_at(text: str, index: int) -> Mark:
    before = text[:index]
    return Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _mark_of(event: ev.Event) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


class _Reader:
    """One pass over the events of one text."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text.removeprefix("\ufeff")
        self._nodes = 0
        self._values: dict[KeyPath, Mark] = {}
        self._keys: dict[KeyPath, Mark] = {}
        self._events = self._checked_events()

    def document(self) -> Document:
        data = None
        self._values[()] = Mark(1, 1)
        next(self._events)  # stream start
        if isinstance(start := next(self._events), ev.DocumentStartEvent):
            if start.version or start.tags:
                raise self._fault(start, "directives (%YAML, %TAG) are not allowed")
            data = self._value(next(self._events), ())
            next(self._events)  # document end
            if isinstance(second := next(self._events), ev.DocumentStartEvent):
                raise self._fault(second, "a second document begins here; one is allowed")
        return Document(self._name, data, self._values, self._keys)

    def _checked_events(self) -> Iterator[ev.Event]:
        try:
            for event in yaml.parse(self._text, Loader=yaml.SafeLoader):
                self._check(event)
                yield event
        except ConfigError:
            raise
        except yaml.reader.ReaderError as fault:
            place = _mark_at(self._text, fault.position)
            message = f"the character {fault.character!r} is not allowed"
            raise error_at(self._name, place, message) from None
        except yaml.MarkedYAMLError as fault:
            mark = fault.problem_mark or fault.context_mark
            place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
            words = ", ".join(part for part in (fault.context, fault.problem) if part)
            raise error_at(self._name, place, shorten(words, 300)) from None
        except Exception as fault:
            # PyYAML's scanner lets plain ValueError, OverflowError and others through, for a
            # huge %YAML number or an escape beyond Unicode, without a place.
            words = f"this is not valid YAML ({type(fault).__name__}: {shorten(str(fault), 200)})"
            raise error_at(self._name, Mark(1, 1), words) from fault

    def _check(self, event: ev.Event) -> None:
        if isinstance(event, ev.AliasEvent):
            raise self._fault(event, f"the alias *{shorten(event.anchor)} is not allowed")
        if not isinstance(event, ev.NodeEvent):
            return
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fault(event, f"more than {MAX_NODES} values")
        if event.anchor is not None:
            raise self._fault(event, f"the anchor &{shorten(event.anchor)} is not allowed")
        if event.tag is not None:
            raise self._fault(event, f"the tag {shorten(event.tag)} is not allowed: data only")

    def _value(self, event: ev.Event, path: KeyPath) -> Any:
        self._values[path] = _mark_of(event)
        if isinstance(event, ev.ScalarEvent):
            return self._scalar(event)
        if len(path) >= MAX_DEPTH:
            raise self._fault(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, ev.MappingStartEvent):
            return self._mapping(path)
        items: list[Any] = []
        while not isinstance(item := next(self._events), ev.SequenceEndEvent):
            items.append(self._value(item, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), ev.MappingEndEvent):
            key = self._key(event)
            here = (*path, key)
            if key in found:
                first = self._keys[here].line
                words = f"the key {shorten(key)!r} is here twice; first at line {first}"
                raise self._fault(event, words)
            self._keys[here] = _mark_of(event)
            found[key] = self._value(next(self._events), here)
        return found

    def _key(self, event: ev.Event) -> str:
        if not isinstance(event, ev.ScalarEvent):
            raise self._fault(event, "a key must be text, not a list or a mapping")
        if event.implicit[0] and event.value == "<<":
            raise self._fault(event, "merge keys (<<) are not allowed")
        key = self._scalar(event)
        if not isinstance(key, str):
            kind = "null" if key is None else type(key).__name__
            raise self._fault(event, f"a key must be text, found {key!r} ({kind}); quote it")
        return key

    def _scalar(self, event: ev.ScalarEvent) -> Any:
        text: str = event.value
        if len(text) > MAX_SCALAR:
            raise self._fault(event, f"a value longer than {MAX_SCALAR} characters")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self._fault(event, "half of a surrogate pair is not text")
        if not event.implicit[0]:  # quoted, literal or folded
            return text
        try:
            return resolve(text)
        except ValueError as fault:
            raise self._fault(event, str(fault)) from None

    def _fault(self, event: ev.Event, message: str) -> ConfigError:
        return error_at(self._name, _mark_of(event), message)
