"""The lines and the header of a run folder as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sleepengine.nodes.group import NodeGroup


@dataclass(frozen=True)
class DataFacts:
    """Name of the data set, examples in each part, shape of one input, number of classes."""

    name: str
    train: int
    valid: int
    test: int
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None


@dataclass(frozen=True)
class ModelFacts:
    """Name of the model, number of parameters, number of those that may sleep."""

    name: str
    parameters: int
    maskable: int


@dataclass(frozen=True)
class Meta:
    """The content of `run.json`."""

    name: str
    experiment: Literal["train", "lottery", "mask_training", "supermask", "task_masks"]
    status: Literal["running", "finished", "interrupted", "failed"]
    started: str
    seconds: float
    seeds: tuple[int, ...]
    arms: tuple[str, ...]
    data: DataFacts
    model: ModelFacts
    versions: Mapping[str, str]
    config_sha256: str
    device: str
    format: int
    finished: str | None = None


@dataclass(frozen=True)
class Result:
    """One trained network. `awake` is the share of maskable weights awake at the end, 0 to 1.

    The last five are of experiments with masks: accuracy on every task, the share that a task's
    mask has in common with others (over all tensors, and of each), the accuracy on a task when it
    had just been learned, and whether its outputs are still the same to the bit.
    """

    arm: str
    seed: int
    level: int
    awake: float
    awake_count: int
    maskable: int
    test_accuracy: float | None
    test_loss: float | None
    valid_accuracy: float | None
    valid_loss: float | None
    best_valid_step: int | None
    best_valid_accuracy: float | None
    steps: int
    seconds: float
    tasks: Mapping[str, float | None] | None = None
    shared: float | None = None
    shared_layers: Mapping[str, float] | None = None
    then_accuracy: float | None = None
    unchanged: bool | None = None


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation during training. `layers` holds the awake share of each tensor."""

    arm: str
    seed: int
    level: int
    step: int
    epoch: float
    train_loss: float | None
    valid_loss: float | None
    valid_accuracy: float | None
    awake: float
    layers: Mapping[str, float]


@dataclass(frozen=True)
class TensorChange:
    """What one action did to one tensor, and how the tensor stands after it."""

    changed: int
    asleep: int
    frozen: int
    total: int


@dataclass(frozen=True)
class JournalLine:
    """One action of one rule. `fraction` is the sleeping share after it, 0 to 1."""

    arm: str
    seed: int
    level: int
    step: int
    epoch: float
    rule: str
    action: str
    changed: int
    fraction: float
    tensors: Mapping[str, TensorChange]


@dataclass(frozen=True)
class GroupsLine:
    """The node groups of a network; `edges` and `depthwise` name parameters, as `Wiring` does."""

    arm: str
    seed: int
    level: int
    step: int
    groups: tuple[NodeGroup, ...]
    edges: tuple[str, ...]
    depthwise: tuple[str, ...]


@dataclass(frozen=True)
class NodeLine:
    """What happened to nodes of one group at a step, by their numbers.

    `awake` counts those that are awake afterwards. The last two are there at the end of a training
    alone, with a number for every node.
    """

    arm: str
    seed: int
    level: int
    step: int
    group: str
    awake: int
    slept: tuple[int, ...] = ()
    woke: tuple[int, ...] = ()
    reset: tuple[int, ...] = ()
    dormancy: tuple[float, ...] | None = None
    churn: tuple[float, ...] | None = None


@dataclass(frozen=True)
class MaskFile:
    """The masks of one trained network; the file itself is read only when asked for."""

    arm: str
    seed: int
    level: int
    path: Path
