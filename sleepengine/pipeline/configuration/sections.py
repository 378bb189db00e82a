"""Which keys belong to which experiment, and what of them can be tried before there is data."""

from __future__ import annotations

from typing import Any

import torch

from sleepengine.files.yaml_document import KeyPath
from sleepengine.learned.relaxation import Relaxation
from sleepengine.pipeline.configuration.located import Mistakes
from sleepengine.pipeline.configuration.reading import Reader
from sleepengine.pipeline.problems.questions import Question

LOTTERY, MASK_TRAINING, SUPERMASK, TASK_MASKS = (
    "lottery",
    "mask_training",
    "supermask",
    "task_masks",
)
SECTIONS = (LOTTERY, MASK_TRAINING, SUPERMASK, TASK_MASKS)


def check_experiment(data: dict[str, Any], mistakes: Mistakes) -> None:
    """The keys of one kind of experiment make no sense in another."""
    experiment = data.get("experiment")
    own = experiment if experiment in SECTIONS else None
    if own is not None and own not in data:
        what = "its levels" if own == LOTTERY else "its settings"
        mistakes.add(("experiment",), f"experiment: {own} needs a key {own}: with {what}")
    if own is not None and data.get("rules"):
        where = "; they stand in lottery: each_level:" if own == LOTTERY else ""
        words = f"a {own} has no rules: of its own{where}"
        mistakes.add(("rules",), words, at_key=True)
    for other in SECTIONS:
        if other != own and data.get(other) is not None:
            words = f"{other}: is for experiment: {other}; add that line or leave this out"
            mistakes.add((other,), words, at_key=True)
    train = data.get("train")
    if own == TASK_MASKS and isinstance(train, dict) and train.get("lr_schedule") is not None:
        words = "task_masks trains every task at the same learning rate; leave the schedule out"
        mistakes.add(("train", "lr_schedule"), words, at_key=True)


def check_mask_training(data: dict[str, Any], reader: Reader) -> None:
    """Build the tasks, the relaxation and the optimizer of masks once."""
    section = data.get(MASK_TRAINING)
    if not isinstance(section, dict):
        return
    tasks = section.get("tasks")
    for i, task in enumerate(tasks if isinstance(tasks, list) else []):
        path: KeyPath = (MASK_TRAINING, "tasks", i)
        reader.build(reader.tables.kinds[Question], task, path)
    if "relaxation" in section:
        path = (MASK_TRAINING, "relaxation")
        reader.build(reader.tables.kinds[Relaxation], section["relaxation"], path)
    if "optimizer" in section:
        weight = torch.nn.Parameter(torch.zeros(1))
        path = (MASK_TRAINING, "optimizer")
        reader.build(reader.tables.optimizers, section["optimizer"], path, params=[weight])
