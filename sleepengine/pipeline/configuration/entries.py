"""What a configuration may call by name: a class or function, and its arguments as declared."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from sleepengine.errors import SetupError


@dataclass(frozen=True)
class Argument:
    """One argument of an entry."""

    name: str
    hint: Any
    required: bool
    by_name_only: bool = False
    many: bool = False  # takes all positional values that are left
    or_none: bool = False  # has no default but may be None, which leaving it out then means


@dataclass(frozen=True)
class Entry:
    """A class or function under the name that stands in the YAML.

    name: the name.
    make: what is called.
    given: arguments that the pipeline fills in and a file must not name.
    hints: types of arguments that are written otherwise than the signature says.
    hidden: arguments that make no sense in a file.
    sample: values for `given` with which the arguments can be tried before there is data.
    """

    name: str
    make: Callable[..., Any]
    given: frozenset[str] = frozenset()
    hints: Mapping[str, Any] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    sample: Mapping[str, Any] | None = None

    @cached_property
    def arguments(self) -> Mapping[str, Argument]:
        """The arguments that a file may give, in the order of the signature."""
        found = {}
        hints = _hints(self.make)
        for name, parameter in inspect.signature(self.make).parameters.items():
            if name in self.given or name in self.hidden:
                continue
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                raise SetupError(
                    f"{self.name} takes **{name}, so that no argument of it can be checked: "
                    "give its arguments names."
                )
            hint = self.hints.get(name, hints.get(name, Any))
            many = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            optional = many or parameter.default is not inspect.Parameter.empty
            or_none = not optional and type(None) in typing.get_args(hint)
            found[name] = Argument(
                name=name,
                hint=hint,
                required=not optional and not or_none,
                or_none=or_none,
                by_name_only=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
                many=many,
            )
        return found

    @cached_property
    def takes(self) -> frozenset[str]:
        """Which of `given` the callable asks for."""
        return self.given & inspect.signature(self.make).parameters.keys()

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without which it cannot be called."""
        return tuple(a.name for a in self.arguments.values() if a.required)

    @property
    def stands_alone(self) -> bool:
        """Whether the name needs no arguments."""
        return not any(a.required or a.many for a in self.arguments.values())

    @property
    def summary(self) -> str:
        """The first line of its documentation, without markup."""
        text = inspect.getdoc(self.make) or self.name
        return text.strip().splitlines()[0].replace("`", "")

    def call(self, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """The thing itself, from converted arguments and what the pipeline fills in."""
        positional: list[Any] = []
        named = {name: value for name, value in given.items() if name in self.takes}
        for name, value in arguments.items():
            if self.arguments[name].many:
                positional += value
            else:
                named[name] = value
        for argument in self.arguments.values():
            if argument.or_none:
                named.setdefault(argument.name, None)
        return self.make(*positional, **named)


@dataclass(frozen=True)
class Kind:
    """A family of entries, such as all scorers; `noun` is its word in messages."""

    noun: str
    entries: Mapping[str, Entry]

    def plus(self, things: Mapping[str, Callable[..., Any]], like: Entry | None = None) -> Kind:
        """The kind with a user's own things.

        Raises:
            SetupError: a name is taken, or something cannot be called.
        """
        added = dict(self.entries)
        for name, make in things.items():
            if name in added:
                raise SetupError(f"{self.noun} {name!r} is there already: choose another name.")
            if not callable(make):
                raise SetupError(f"{self.noun} {name!r}: {make!r} cannot be called.")
            given = frozenset() if like is None else like.given
            added[name] = Entry(name, make, given)
            _ = added[name].arguments  # raises for what cannot be checked
        return Kind(self.noun, added)


def by_name(noun: str, things: Iterable[Callable[..., Any]]) -> Kind:
    """A kind whose names are those of the classes and functions themselves.

    >>> from schedules import every, once
    >>> list(by_name("trigger", [once, every]).entries)
    ['once', 'every']
    """
    return Kind(noun, {thing.__name__: Entry(thing.__name__, thing) for thing in things})


def _hints(make: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of the arguments; Any for one that names a type its module does not import."""
    target: Any = make
    if inspect.isclass(make) and make.__init__ is not object.__init__:
        target = make.__init__
    if not inspect.isroutine(target):
        return {}
    return {name: _hint(make, target, name) for name in getattr(target, "__annotations__", {})}


def _hint(make: Callable[..., Any], target: Any, name: str) -> Any:
    """The type of one argument, in the words of the module that wrote it down."""
    alone = SimpleNamespace(__annotations__={name: target.__annotations__[name]})
    places = [getattr(target, "__globals__", {})]
    # A dataclass may inherit a field from a class of another module.
    for base in make.__mro__ if inspect.isclass(make) else ():
        if name in vars(base).get("__annotations__", {}):
            places.append(vars(sys.modules[base.__module__]))
    for place in places:
        try:
            return typing.get_type_hints(alone, place)[name]
        except NameError:
            continue
    return Any  # imported for type checkers only
