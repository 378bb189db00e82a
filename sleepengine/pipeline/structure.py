"""The shape of a configuration: its keys, their plain types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from schedules import Time, as_time
from sleepengine.pipeline.located import shown

TIME_PATTERN = r"^([0-9]+ep([0-9]+it)?|[0-9]+it|[0-9]+(\.[0-9]+)?%)$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"


@dataclass(frozen=True)
class Spec:
    """A name and its arguments, as the file writes them."""

    name: str
    arguments: Any = field(default_factory=dict)


def _spec(data: Any) -> Spec:
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


def _length(data: Any) -> Time:
    time = _time(data)
    if time.percent is not None:
        raise ValueError(f"'{time}' is a share of the run; give its length, as 30ep or 5000it")
    return _interval(data)


def _interval(data: Any) -> Time:
    time = _time(data)
    if time.is_zero:
        raise ValueError(f"{shown(data)} is no length; the shortest is 1it")
    return time


def _tuple(data: Any) -> Any:
    return tuple(data) if isinstance(data, list) else data


def _patterns(data: Any) -> Any:
    return (data,) if isinstance(data, str) else _tuple(data)


def _distinct(data: Any) -> Any:
    if isinstance(data, list) and not data:
        raise ValueError("must hold at least one")
    twice = [one for i, one in enumerate(data) if one in data[:i]] if _is_plain(data) else []
    if twice:
        raise ValueError(f"{twice[0]!r} is here twice")
    return _tuple(data)


def _is_plain(data: Any) -> bool:
    return isinstance(data, list) and all(isinstance(one, str | int) for one in data)


def _schema(kind: str) -> WithJsonSchema:
    """Stands in the schema where the names of a table belong."""
    return WithJsonSchema({"x-kind": kind})


_Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
_TimeSchema = WithJsonSchema({"type": "string", "pattern": TIME_PATTERN})
_Plain: TypeAlias = Mapping[str, Any]
_Rules: TypeAlias = Annotated[tuple[Any, ...], BeforeValidator(_tuple)]
Arm: TypeAlias = Literal["ticket", "random_reinit", "random_mask", "dense"]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True
    )


class Train(_Strict):
    """How one network is trained."""

    length: Annotated[Time, BeforeValidator(_length), _TimeSchema] = Field(
        description="Length of a training: 30ep or 5000it."
    )
    batch_size: int = Field(default=64, ge=1, description="Samples per step.")
    optimizer: Annotated[Spec, BeforeValidator(_spec), _schema("optimizer")] = Field(
        default=Spec("SGD", {"lr": 0.1}), description="A class of torch.optim and its arguments."
    )
    lr_schedule: Annotated[Spec, BeforeValidator(_spec), _schema("lr_schedule")] | None = Field(
        default=None,
        description="A class of torch.optim.lr_scheduler; stepped per epoch where all of its times "
        "are whole epochs (30ep), else per iteration.",
    )
    evaluate: Annotated[Time, BeforeValidator(_interval), _TimeSchema] = Field(
        default=Time(epochs=1), description="How often the validation split is evaluated."
    )


class EngineOptions(_Strict):
    """Plain arguments of SleepEngine; what is not given keeps its default."""

    params: _Texts | None = Field(
        default=None, description="Names or patterns of the parameters in scope (default: weights)."
    )
    nodes: bool | None = Field(
        default=None,
        description="Whether node groups are found from the model and a sample of the data "
        "(default: when a rule asks for nodes).",
    )
    keep: _Texts = Field(default=(), description="More moments to keep, such as [500it].")
    memory: Literal["fast", "lean"] = Field(default="fast", description="How masks are held.")
    park_on: Literal["cpu"] | None = Field(default=None, description="Where parked values lie.")
    park_state: Literal["auto", "none", "second", "all"] = Field(
        default="auto", description="What of the optimizer state is parked."
    )
    undo: bool = Field(default=True, description="Whether the last act can be undone bit for bit.")
    check_every: int = Field(
        default=100, ge=0, description="Steps between two checks for leaks; 0: never."
    )
    keep_records: int | None = Field(
        default=10_000, ge=1, description="Records that the journal holds."
    )


class Lottery(_Strict):
    """A lottery ticket experiment: train, prune, rewind, again and again."""

    levels: int = Field(ge=1, description="Prunings; level 0 is the dense network.")
    each_level: Annotated[_Rules, _schema("level_rules")] = Field(
        min_length=1,
        description="Rules without `when`, fired together after each level but the last.",
    )
    arms: Annotated[tuple[Arm, ...], BeforeValidator(_distinct)] = Field(
        default=("ticket",),
        description="ticket: rewound weights. random_reinit: the ticket's mask, new initial "
        "weights. random_mask: as many weights at random places. dense: all weights.",
    )


class Structure(_Strict):
    """A pipeline: data, a model, how it trains, and the rules by which its weights sleep."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run; default: the file's.")
    experiment: Literal["train", "lottery"] = Field(
        default="train", description="train: one training per seed. lottery: levels of pruning."
    )
    data: Annotated[Spec, BeforeValidator(_spec), _schema("data")] = Field(
        default=Spec("digits"), description="A data set; its folder comes from the command line."
    )
    model: Annotated[Spec, BeforeValidator(_spec), _schema("model")] = Field(
        description="A model and its arguments."
    )
    train: Train
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(_distinct)
    ] = Field(default=(0,), description="One run per seed.")
    engine: EngineOptions = EngineOptions()
    rules: Annotated[_Rules, _schema("rules")] = Field(
        default=(), description="Rules: when, who, what."
    )
    lottery: Lottery | None = Field(default=None, description="For experiment: lottery.")
