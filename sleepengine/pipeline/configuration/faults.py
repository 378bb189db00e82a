"""The library's complaints about structure, in our words and at their places."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sleepengine.errors import did_you_mean
from sleepengine.files.yaml_document import KeyPath
from sleepengine.pipeline.configuration.located import Mistakes, shown

_ASKED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def note(error: ValidationError, model: type[BaseModel], mistakes: Mistakes) -> None:
    """Add every complaint about `model` to the mistakes."""
    for fault in error.errors():
        path = tuple(fault["loc"])
        if fault["type"] == "extra_forbidden":
            mistakes.add(path, _unknown(path, model), at_key=True)
        elif fault["type"] == "missing":
            mistakes.add(path[:-1], f"{_where(path[:-1])}needs {path[-1]!r}{_purpose(path, model)}")
        else:
            mistakes.add(path, f"{_label(path)}: {_words(fault)}")


def _words(fault: ErrorDetails) -> str:
    found, about = fault["input"], fault.get("ctx", {})
    kind = fault["type"]
    if kind in _ASKED:
        return f"must be {_ASKED[kind]}, found {shown(found)}"
    if kind == "value_error":
        return str(about["error"]).removeprefix("time: ")
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(about["expected"]))
        if isinstance(found, str):
            return f"{found!r} is not known. {did_you_mean(found, choices)}"
        return f"must be one of {', '.join(choices)}, found {shown(found)}"
    if kind == "greater_than_equal":
        return f"must be at least {about['ge']}, found {shown(found)}"
    if kind == "less_than":
        return f"must be less than {about['lt']}, found {shown(found)}"
    if kind == "too_short":
        return f"must hold at least {about['min_length']}"
    if kind == "string_pattern_mismatch":
        return f"letters, digits, '_', '-' and '.' only, at most 80; found {shown(found)}"
    return f"{fault['msg']}, found {shown(found)}"


def _unknown(path: KeyPath, model: type[BaseModel]) -> str:
    fields = _model_at(path[:-1], model).model_fields
    return f"{_where(path[:-1])}unknown key {path[-1]!r}. {did_you_mean(str(path[-1]), fields)}"


def _purpose(path: KeyPath, model: type[BaseModel]) -> str:
    fields = _model_at(path[:-1], model).model_fields
    described = fields[str(path[-1])].description
    return f": {described}" if described else ""


def _model_at(path: KeyPath, model: type[BaseModel]) -> type[BaseModel]:
    """The model of the mapping at `path`."""
    for key in path:
        kinds: Mapping[str, Any] = {n: f.annotation for n, f in model.model_fields.items()}
        inner = kinds[str(key)]
        several = getattr(inner, "__args__", (inner,))
        model = next(k for k in several if isinstance(k, type) and issubclass(k, BaseModel))
    return model


def _where(path: KeyPath) -> str:
    return f"{_label(path)}: " if path else ""


def _label(path: KeyPath) -> str:
    """`train.length`, `seeds[2]`.

    >>> _label(("seeds", 2))
    'seeds[2]'
    """
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text
