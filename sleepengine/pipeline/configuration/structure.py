"""The shape of a configuration: its keys, their plain types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from schedules import Time
from sleepengine.pipeline.configuration.fields import (
    NAME_PATTERN,
    Interval,
    Length,
    Optimizer,
    Spec,
    Strict,
    as_patterns,
    as_spec,
    as_tuple,
    distinct,
    marked,
)
from sleepengine.pipeline.configuration.mask_sections import MaskTraining, Supermask, TaskMasks

_Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(as_patterns)]
_Plain: TypeAlias = Mapping[str, Any]
_Rules: TypeAlias = Annotated[tuple[Any, ...], BeforeValidator(as_tuple)]
Arm: TypeAlias = Literal["ticket", "random_reinit", "random_mask", "dense"]


class Train(Strict):
    """How one network is trained."""

    length: Length = Field(description="Length of a training: 30ep or 5000it.")
    batch_size: int = Field(default=64, ge=1, description="Samples per step.")
    optimizer: Optimizer = Field(
        default=Spec("SGD", {"lr": 0.1}), description="A class of torch.optim and its arguments."
    )
    lr_schedule: Annotated[Spec, BeforeValidator(as_spec), marked("lr_schedule")] | None = Field(
        default=None,
        description="A class of torch.optim.lr_scheduler; stepped per epoch where all of its times "
        "are whole epochs (30ep), else per iteration.",
    )
    evaluate: Interval = Field(
        default=Time(epochs=1), description="How often the validation split is evaluated."
    )


class EngineOptions(Strict):
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


class Lottery(Strict):
    """A lottery ticket experiment: train, prune, rewind, again and again."""

    levels: int = Field(ge=1, description="Prunings; level 0 is the dense network.")
    each_level: Annotated[_Rules, marked("level_rules")] = Field(
        min_length=1,
        description="Rules without `when`, fired together after each level but the last.",
    )
    arms: Annotated[tuple[Arm, ...], BeforeValidator(distinct)] = Field(
        default=("ticket",),
        description="ticket: rewound weights. random_reinit: the ticket's mask, new initial "
        "weights. random_mask: as many weights at random places. dense: all weights.",
    )


class Structure(Strict):
    """A pipeline: data, a model, how it trains, and the rules by which its weights sleep."""

    name: str = Field(pattern=NAME_PATTERN, description="Name of the run; default: the file's.")
    experiment: Literal["train", "lottery", "mask_training", "supermask", "task_masks"] = Field(
        default="train",
        description="train: one training per seed. lottery: levels of pruning. mask_training: "
        "masks of tasks on a trained network. supermask: masks on an untrained one. task_masks: "
        "tasks one after another, each with a mask.",
    )
    data: Annotated[Spec, BeforeValidator(as_spec), marked("data")] = Field(
        default=Spec("digits"), description="A data set; its folder comes from the command line."
    )
    model: Annotated[Spec, BeforeValidator(as_spec), marked("model")] = Field(
        description="A model and its arguments; only run(model=...) goes without."
    )
    train: Train
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(distinct)
    ] = Field(default=(0,), description="One run per seed.")
    engine: EngineOptions = EngineOptions()
    rules: Annotated[_Rules, marked("rules")] = Field(
        default=(), description="Rules: when, who, what."
    )
    lottery: Lottery | None = Field(default=None, description="For experiment: lottery.")
    mask_training: MaskTraining | None = Field(
        default=None, description="For experiment: mask_training."
    )
    supermask: Supermask | None = Field(default=None, description="For experiment: supermask.")
    task_masks: TaskMasks | None = Field(default=None, description="For experiment: task_masks.")
