"""A JSON schema of configurations, for editors: names, arguments and what they mean."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from schedules import Time
from sleepengine.learned.relaxation import Relaxation
from sleepengine.pipeline.configuration import hints
from sleepengine.pipeline.configuration.entries import Argument, Entry, Kind
from sleepengine.pipeline.configuration.fields import TIME_PATTERN
from sleepengine.pipeline.configuration.structure import Structure
from sleepengine.pipeline.configuration.tables import LEVEL_RULE, RULE, WHO, Plugins, Tables, tables
from sleepengine.rules.rule import Who

_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_TIME = {"type": "string", "pattern": TIME_PATTERN}
_PREFIX = "#/$defs/"
Json = dict[str, Any]


def json_schema(plugins: Plugins | None = None) -> Json:
    """The schema of a configuration file, with the user's own names.

    >>> schema = json_schema()
    >>> schema["$defs"]["shares"]["anyOf"][0]["enum"]
    ['Uniform', 'ER', 'ERK', 'MeanScore']
    """
    names = tables(plugins)
    schema = Structure.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A sleepengine pipeline"
    schema["required"] = [key for key in schema["required"] if key != "name"]
    defs = schema.setdefault("$defs", {})
    for kind in (*names.kinds.values(), *_top_level(names).values()):
        defs[_key(kind)] = _kind(kind, names)
    defs["who"] = _record(WHO, names)
    defs["rule"] = _record(RULE, names)
    defs["level_rule"] = _record(LEVEL_RULE, names)
    result: Json = _placed(schema, names)
    return result


def _top_level(names: Tables) -> dict[str, Kind]:
    return {
        "data": names.data,
        "model": names.models,
        "optimizer": names.optimizers,
        "lr_schedule": names.lr_schedules,
        "relaxation": names.kinds[Relaxation],
    }


def _placed(node: Any, names: Tables) -> Any:
    """The schema with every marker replaced by a reference to what belongs there."""
    if isinstance(node, list):
        return [_placed(one, names) for one in node]
    if not isinstance(node, dict):
        return node
    rest = {key: _placed(value, names) for key, value in node.items() if key != "x-kind"}
    mark = node.get("x-kind")
    if mark is None:
        return rest
    if mark in ("rules", "level_rules", "tasks"):
        return {**rest, "type": "array", "items": {"$ref": f"{_PREFIX}{mark[:-1]}"}}
    return {**rest, "$ref": _PREFIX + _key(_top_level(names)[mark])}


def _key(kind: Kind) -> str:
    return kind.noun.replace(" ", "_")


def _kind(kind: Kind, names: Tables) -> Json:
    """A name alone, or a mapping of one name to its arguments."""
    alone = [entry.name for entry in kind.entries.values() if entry.stands_alone]
    forms: list[Json] = []
    if alone:
        forms.append({"enum": alone})
    forms.append(
        {
            "type": "object",
            "properties": {e.name: _call(e, names) for e in kind.entries.values()},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }
    )
    return {"description": f"One of the {kind.noun}s".replace("ss", "s"), "anyOf": forms}


def _call(entry: Entry, names: Tables) -> Json:
    """The arguments in any of their forms: by name, by position, or the first one alone."""
    forms = [_record(entry, names)]
    places = [a for a in entry.arguments.values() if not a.by_name_only]
    if places:
        forms.append(_positions(entry, places, names))
        forms.append(_value(places[0].hint, names))
    if entry.stands_alone:
        forms.append({"type": "null"})
    return {"description": entry.summary, "anyOf": forms}


def _positions(entry: Entry, places: list[Argument], names: Tables) -> Json:
    if places[0].many:
        return {"type": "array", "items": _value(places[0].hint, names)}
    return {
        "type": "array",
        "minItems": len([a for a in places if a.required]),
        "maxItems": len(places),
    }


def _record(entry: Entry, names: Tables) -> Json:
    """A mapping of arguments by their names."""
    record: Json = {
        "type": "object",
        "description": entry.summary,
        "properties": {a.name: _argument(a, names) for a in entry.arguments.values()},
        "additionalProperties": False,
    }
    if entry.required:
        record["required"] = list(entry.required)
    return record


def _argument(argument: Argument, names: Tables) -> Json:
    value = _value(argument.hint, names)
    return {"type": "array", "items": value} if argument.many else value


def _value(hint: Any, names: Tables) -> Json:
    """What one argument may be."""
    forms = [found for one in hints.members(hint) if (found := _one(one, names)) is not None]
    if not forms:
        return {}
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _one(hint: Any, names: Tables) -> Json | None:
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if hint is Any:
        return {}
    if hint in names.kinds:
        return {"$ref": _PREFIX + _key(names.kinds[hint])}
    if hint is Time:
        return dict(_TIME)
    if hint is Who:
        return {"$ref": f"{_PREFIX}who"}
    parts = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return {"enum": list(parts)}
    if hints.is_words(hint):
        return {"enum": list(hints.words_of(hint))}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _value(parts[1], names)}
    if hints.is_fixed(hint):
        return {"type": "array", "minItems": len(parts), "maxItems": len(parts)}
    if hints.is_list(hint):
        return {"type": "array", "items": _value(hints.item(hint), names)}
    return None  # tensors, functions: never written in a file
