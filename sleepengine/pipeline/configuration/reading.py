"""From plain data to calls: names are looked up, arguments bound and checked by their types."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schedules import Time, as_time
from sleepengine.errors import SleepError, closest, did_you_mean
from sleepengine.files.yaml_document import KeyPath
from sleepengine.pipeline.configuration import hints
from sleepengine.pipeline.configuration.entries import Argument, Entry, Kind
from sleepengine.pipeline.configuration.located import Mistakes, shown
from sleepengine.pipeline.configuration.tables import WHO, Tables
from sleepengine.rules.rule import Who


class _Failed:
    """In place of a value whose mistake has been noted; what needs it is not built."""

    def __repr__(self) -> str:
        return "FAILED"


FAILED = _Failed()


@dataclass(frozen=True)
class Call:
    """An entry and its converted arguments; `make` may be called again for a new object."""

    entry: Entry
    arguments: Mapping[str, Any]
    path: KeyPath = field(compare=False)
    named: bool = field(default=True, compare=False)  # the path ends in the name, which is a key

    def make(self, **given: Any) -> Any:
        """The thing, with what the pipeline fills in."""
        return self.entry.call(self.arguments, given)


@dataclass(frozen=True)
class Reader:
    """Reads values at their places; what is wrong goes to `mistakes` and reading goes on."""

    tables: Tables
    mistakes: Mistakes

    def build(self, kind: Kind, data: Any, path: KeyPath, **given: Any) -> Any:
        """The object that `data` calls for, or FAILED."""
        call = self.call(kind, data, path)
        return FAILED if call is None else self.made(call, given)

    def made(self, call: Call, given: Mapping[str, Any]) -> Any:
        """What the call makes, or FAILED with the constructor's own words."""
        return self.attempt(call, lambda: call.make(**given))

    def attempt(self, call: Call, make: Callable[[], Any]) -> Any:
        """The same, for something made another way."""
        try:
            return make()
        except (ValueError, TypeError, SleepError) as error:
            words = str(error)
        except (RuntimeError, ArithmeticError, MemoryError) as error:  # too large a size
            words = f"{call.entry.name} cannot be made: {str(error) or type(error).__name__}"
        self.mistakes.add(call.path, words, at_key=call.named)
        return FAILED

    def record(self, entry: Entry, data: Any, path: KeyPath) -> Any:
        """The object of `entry` from a mapping of its arguments (a rule, a who), or FAILED."""
        if not isinstance(data, dict):
            self.mistakes.add(path, f"{entry.name} must be a mapping, found {shown(data)}")
            return FAILED
        bound = {name: (value, (*path, name)) for name, value in data.items()}
        call = self._call(entry, bound, path, named=False)
        return FAILED if call is None else self.made(call, {})

    def call(self, kind: Kind, data: Any, path: KeyPath) -> Call | None:
        """The named entry with its arguments; None when something is wrong."""
        name, inner = data, None
        if isinstance(data, dict):
            if len(data) != 1:
                keys = ", ".join(map(repr, data)) or "nothing"
                words = f"a {kind.noun} is one name with its arguments; found {keys}"
                self.mistakes.add(path, words)
                return None
            ((name, inner),) = data.items()
        if not isinstance(name, str):
            words = f"must be a {kind.noun}: a name or {{name: arguments}}; found {shown(data)}"
            self.mistakes.add(path, words)
            return None
        named = isinstance(data, dict)
        at = (*path, name) if named else path
        if name not in kind.entries:
            words = f"unknown {kind.noun} {name!r}. {did_you_mean(name, kind.entries)}"
            self.mistakes.add(at, words, at_key=named)
            return None
        entry = kind.entries[name]
        bound = self._bound(entry, inner, at)
        return None if bound is None else self._call(entry, bound, at, named=named)

    # --- binding -------------------------------------------------------------------------------

    def _bound(
        self, entry: Entry, data: Any, path: KeyPath
    ) -> dict[str, tuple[Any, KeyPath]] | None:
        """Argument -> (value, its place), from any of the forms; None when it cannot be told."""
        if data is None:
            return {}
        arguments = list(entry.arguments.values())
        if isinstance(data, dict) and not self._alone(entry, data):
            return {name: (value, (*path, name)) for name, value in data.items()}
        places = [a for a in arguments if not a.by_name_only]
        if not isinstance(data, list):
            if places and places[0].many:
                return {places[0].name: ([data], path)}
            return self._positional(entry, places, [data], [path], path)
        if places and places[0].many:
            return {places[0].name: (data, path)}
        return self._positional(entry, places, data, [(*path, i) for i in range(len(data))], path)

    def _positional(
        self,
        entry: Entry,
        places: list[Argument],
        values: list[Any],
        paths: list[KeyPath],
        path: KeyPath,
    ) -> dict[str, tuple[Any, KeyPath]] | None:
        if len(values) > len(places):
            names = ", ".join(entry.arguments)
            takes = f"takes {len(places)}" if places else "takes none without a name"
            words = f"{entry.name} was given {len(values)} arguments and {takes}"
            self.mistakes.add(path, f"{words}; by name: {names}" if names else words)
            return None
        return {p.name: (v, at) for p, v, at in zip(places, values, paths, strict=False)}

    def _alone(self, entry: Entry, data: dict[str, Any]) -> bool:
        """Whether a mapping is itself the first argument, as the curve in `{to: {cubic: ...}}`."""
        first = next(iter(entry.arguments.values()), None)
        if first is None or first.by_name_only or any(key in entry.arguments for key in data):
            return False
        for member in hints.members(first.hint):
            if typing.get_origin(member) is Mapping:
                return True
            kind = self.tables.kinds.get(member)
            if kind is not None and any(key in kind.entries for key in data):
                return True
            # A misspelt name of the kind, unless it could be a misspelt argument.
            if kind is not None and any(closest(key, kind.entries, most=1) for key in data):
                return not any(closest(key, entry.arguments, most=1) for key in data)
        return False

    def _call(
        self, entry: Entry, bound: Mapping[str, tuple[Any, KeyPath]], path: KeyPath, *, named: bool
    ) -> Call | None:
        before = len(self.mistakes)
        for name, (_, at) in bound.items():
            if name not in entry.arguments:
                self.mistakes.add(at, self._unknown(entry, name), at_key=True)
        unknown = len(self.mistakes) > before
        for name in entry.required:
            # What is missing may be what is misspelt: one message is enough.
            if name not in bound and not unknown:
                words = f"{entry.name} needs {name!r}: {self._asked(entry.arguments[name])}"
                self.mistakes.add(path, words, at_key=named)
        values = {
            name: self._argument(entry, entry.arguments[name], value, at)
            for name, (value, at) in bound.items()
            if name in entry.arguments
        }
        return Call(entry, values, path, named) if len(self.mistakes) == before else None

    def _unknown(self, entry: Entry, name: str) -> str:
        if name in entry.given:
            return f"{entry.name}: {name!r} is filled in by the pipeline; leave it out"
        if not entry.arguments:
            return f"{entry.name} takes no arguments, found {name!r}"
        hint = did_you_mean(name, entry.arguments)
        return f"unknown argument {name!r} of {entry.name}. {hint}"

    def _asked(self, argument: Argument) -> str:
        return hints.in_words(argument.hint, self.tables.kinds) or "any value"

    # --- values --------------------------------------------------------------------------------

    def _argument(self, entry: Entry, argument: Argument, data: Any, path: KeyPath) -> Any:
        label = f"{entry.name}({argument.name})"
        if not argument.many:
            return self._value(argument.hint, data, path, label)
        if not isinstance(data, list):
            self.mistakes.add(path, f"{label}: must be a list, found {shown(data)}")
            return FAILED
        return [self._value(argument.hint, one, (*path, i), label) for i, one in enumerate(data)]

    def _value(self, hint: Any, data: Any, path: KeyPath, label: str) -> Any:
        kinds = self.tables.kinds
        for member in hints.members(hint):
            if hints.fits(member, data, kinds) and not self._is_other(member, hint, data):
                return self._converted(member, data, path, label)
        asked = hints.in_words(hint, kinds)
        self.mistakes.add(path, f"{label}: must be {asked}, found {shown(data)}")
        return FAILED

    def _is_other(self, member: Any, hint: Any, data: Any) -> bool:
        """Whether text is no name at all where something else could stand, as `to: "0.9"`."""
        kind = self.tables.kinds.get(member)
        kinds = (self.tables.kinds.get(m) for m in hints.members(hint) if m is not type(None))
        if kind is None or not isinstance(data, str) or all(k is kind for k in kinds):
            return False
        return data not in kind.entries and not closest(data, kind.entries, most=1)

    def _converted(self, hint: Any, data: Any, path: KeyPath, label: str) -> Any:
        if hint in self.tables.kinds:
            return self.build(self.tables.kinds[hint], data, path)
        if hint is Who:
            return self.record(WHO, data, path)
        if hint is Time:
            return self._time(data, path, label)
        if typing.get_origin(hint) is typing.Literal:
            return self._word({word: word for word in typing.get_args(hint)}, data, path, label)
        if hints.is_words(hint):
            return self._word(hints.words_of(hint), data, path, label)
        if isinstance(data, dict) and hint is not Any:
            of = typing.get_args(hint)[1]
            return {k: self._value(of, v, (*path, k), f"{label}[{k!r}]") for k, v in data.items()}
        if isinstance(data, list) and hint is not Any:
            return self._list(hint, data, path, label)
        return data

    def _word(self, words: Mapping[str, Any], data: str, path: KeyPath, label: str) -> Any:
        if data not in words:
            message = f"{label}: {data!r} is not known. {did_you_mean(data, words)}"
            self.mistakes.add(path, message)
        return words.get(data, FAILED)

    def _list(self, hint: Any, data: list[Any], path: KeyPath, label: str) -> Any:
        if hints.is_fixed(hint):
            parts = typing.get_args(hint)
            if len(parts) != len(data):
                asked = hints.in_words(hint, self.tables.kinds)
                self.mistakes.add(path, f"{label}: must be {asked}; found {len(data)}")
                return FAILED
        else:
            parts = (hints.item(hint),) * len(data)
        pairs = enumerate(zip(parts, data, strict=True))
        return tuple(self._value(part, one, (*path, i), label) for i, (part, one) in pairs)

    def _time(self, data: Any, path: KeyPath, label: str) -> Any:
        try:
            return as_time(data, label)
        except (TypeError, ValueError) as error:
            self.mistakes.add(path, str(error))
            return FAILED
