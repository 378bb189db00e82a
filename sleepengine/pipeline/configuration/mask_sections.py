"""The keys of experiments with masks."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from sleepengine.pipeline.configuration.fields import (
    Length,
    Optimizer,
    Spec,
    Strict,
    as_spec,
    as_tuple,
    distinct,
    marked,
)


def _specs(data: Any) -> Any:
    return tuple(as_spec(one) for one in data) if isinstance(data, list | tuple) else data


def _share(data: Any) -> Any:
    if isinstance(data, bool) or not isinstance(data, int | float) or not 0 <= data < 1:
        raise ValueError(f"shares run from 0 to below 1, found {data!r}")
    return float(data)


def _shares(data: Any) -> Any:
    found = [_share(one) for one in data] if isinstance(data, list) else data
    if isinstance(found, list) and found != sorted(set(found)):
        raise ValueError("shares must rise from one to the next")
    return as_tuple(found)


Relaxed: TypeAlias = Annotated[Spec, BeforeValidator(as_spec), marked("relaxation")]
Tasks: TypeAlias = Annotated[
    tuple[Spec, ...], BeforeValidator(_specs), BeforeValidator(distinct), marked("tasks")
]


class MaskTraining(Strict):
    """A network is trained on several tasks at once; then a mask is learned for each of them."""

    tasks: Tasks = Field(
        min_length=2,
        description="What is asked of a sample; the question is part of the input.",
    )
    relaxation: Relaxed = Field(
        default=Spec("GumbelSigmoid"), description="How logits stand for a mask."
    )
    length: Length = Field(description="How long each mask is trained: 10ep or 2000it.")
    optimizer: Optimizer = Field(
        default=Spec("Adam", {"lr": 0.01}), description="Of the logits of a mask."
    )
    alpha: float | None = Field(
        default=None, ge=0, description="Weight of the penalty (default: the relaxation's own)."
    )


class Supermask(Strict):
    """Scores are trained on a network that is not; `train` says how."""

    asleep: Annotated[tuple[float, ...], BeforeValidator(_shares)] = Field(
        default=(0.5,),
        min_length=1,
        description="Sleeping share of every tensor; a level for each, from few to many.",
    )


class TaskMasks(Strict):
    """Tasks of a few classes each, one after another; each keeps a mask, and its weights freeze."""

    classes: int = Field(default=2, ge=1, description="Classes of each task.")
    share: Annotated[float, BeforeValidator(_share)] = Field(
        default=0.5, description="Share of its own weights that each task gives up."
    )
    retrain: Length = Field(description="Training after that; `train.length` is before it.")
