"""The types of keys: times, lists without doubles, names with arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from schedules import Time, as_time
from sleepengine.pipeline.configuration.located import shown

TIME_PATTERN = r"^([0-9]+ep([0-9]+it)?|[0-9]+it|[0-9]+(\.[0-9]+)?%)$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"


@dataclass(frozen=True)
class Spec:
    """A name and its arguments, as the file writes them."""

    name: str
    arguments: Any = field(default_factory=dict)


def as_spec(data: Any) -> Spec:
    """A name alone, or a mapping of one name to its arguments."""
    if isinstance(data, Spec):
        return data
    if isinstance(data, str):
        return Spec(data)
    if isinstance(data, dict) and len(data) == 1:
        ((name, arguments),) = data.items()
        return Spec(name, {} if arguments is None else arguments)
    raise ValueError(f"must be one name or {{name: arguments}}, found {shown(data)}")


def _time(data: Any) -> Time:
    try:
        return as_time(data, "time")
    except TypeError as error:
        raise ValueError(str(error)) from None


def as_length(data: Any) -> Time:
    """A time above 0 that is no share of a run."""
    time = _time(data)
    if time.percent is not None:
        raise ValueError(f"'{time}' is a share of the run; give its length, as 30ep or 5000it")
    return as_interval(data)


def as_interval(data: Any) -> Time:
    """A time above 0."""
    time = _time(data)
    if time.is_zero:
        raise ValueError(f"{shown(data)} is no length; the shortest is 1it")
    return time


def as_tuple(data: Any) -> Any:
    """A list as a tuple; anything else as it is."""
    return tuple(data) if isinstance(data, list) else data


def as_patterns(data: Any) -> Any:
    """One text or a list of them, as a tuple."""
    return (data,) if isinstance(data, str) else as_tuple(data)


def distinct(data: Any) -> Any:
    """A list that holds something, and no text or number twice."""
    if isinstance(data, list) and not data:
        raise ValueError("must hold at least one")
    seen: set[str | int] = set()
    for one in data if _is_plain(data) else ():
        if one in seen:
            raise ValueError(f"{one!r} is here twice")
        seen.add(one)
    return as_tuple(data)


def _is_plain(data: Any) -> bool:
    return isinstance(data, list) and all(isinstance(one, str | int) for one in data)


def marked(kind: str) -> WithJsonSchema:
    """Stands in the schema where the names of a table belong."""
    return WithJsonSchema({"x-kind": kind})


TIME_SCHEMA = WithJsonSchema({"type": "string", "pattern": TIME_PATTERN})
Length: TypeAlias = Annotated[Time, BeforeValidator(as_length), TIME_SCHEMA]
Interval: TypeAlias = Annotated[Time, BeforeValidator(as_interval), TIME_SCHEMA]
Optimizer: TypeAlias = Annotated[Spec, BeforeValidator(as_spec), marked("optimizer")]


class Strict(BaseModel):
    """Keys that are not declared are mistakes, and so are values of another type."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )
