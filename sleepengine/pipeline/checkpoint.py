"""What a checkpoint holds, checked in every point before a run goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sleepengine.errors import FileError, StateError
from sleepengine.masks.saved import section
from sleepengine.pipeline.training import random_state
from sleepengine.pipeline.training.network import Network
from sleepengine.pipeline.training.train import Progress

FIELDS = ["done", "ticket", "current", "seconds", "data_folder", "lines"]
PARALLEL = ["workers", "networks"]
_PROGRESS = ["losses", "steps", "records", "best", "seconds"]


def check(state: object, path: Path) -> Mapping[str, Any]:
    """The state itself, once its fields have the right kinds.

    Raises:
        FileError: they have not; the message begins with the path.
    """
    try:
        several = isinstance(state, Mapping) and PARALLEL[0] in state
        saved = section(state, FIELDS + PARALLEL if several else FIELDS, "the checkpoint")
        for name in ("done", *(PARALLEL if several else ())):
            if type(saved[name]) is not int or saved[name] < (name in PARALLEL):
                raise StateError(f"{name} is {saved[name]!r}")
        if type(saved["seconds"]) is not float:
            raise StateError(f"seconds is {saved['seconds']!r}")
        if saved["data_folder"] is not None and type(saved["data_folder"]) is not str:
            raise StateError(f"data_folder is {saved['data_folder']!r}")
        if saved["current"] is not None:
            current = section(saved["current"], ["network", "progress"], "the training")
            progress_of(current["progress"])
    except StateError as fault:
        raise FileError(f"{path}: damaged: {fault}") from fault
    return saved


def check_fits(state: Mapping[str, Any], network: Network, path: Path) -> None:
    """What a run would load from the checkpoint can be loaded into such a network.

    The network holds the last of it afterwards; the random state of the process stays.

    Raises:
        FileError: it cannot; the message begins with the path.
    """
    current = state["current"]
    saved = [state["ticket"], None if current is None else current["network"]]
    try:
        with random_state.kept():
            for one in saved:
                if one is not None:
                    network.load_state_dict(one)
    except StateError as fault:
        raise FileError(f"{path}: damaged, or of another run: {fault}") from fault


def progress_of(saved: object) -> Progress:
    """The progress of a training.

    Raises:
        StateError: a field is missing or of another kind.
    """
    fields = section(saved, _PROGRESS, "the progress")
    losses = fields["losses"]
    if not isinstance(losses, torch.Tensor) or losses.shape != () or losses.dtype != torch.float64:
        raise StateError("the sum of losses is no number")
    for name, kind in (("steps", int), ("records", int), ("seconds", float)):
        if type(fields[name]) is not kind or fields[name] < 0:
            raise StateError(f"the progress has {name} {fields[name]!r}")
    best = fields["best"]
    if best is not None:
        numbers = section(best, ["step", "loss", "accuracy", "test_accuracy"], "the best point")
        for name, value in numbers.items():
            if value is not None and type(value) not in (int, float):
                raise StateError(f"the best point has {name} {value!r}")
    return Progress(**{**fields, "losses": losses.clone()})
