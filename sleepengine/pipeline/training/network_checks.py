"""What a saved network must fulfil before any of it is applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.errors import StateError
from sleepengine.masks import bits
from sleepengine.masks.saved import section
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.configuration.tables import OPTIMIZERS

if TYPE_CHECKING:
    from sleepengine.pipeline.training.network import Network

FIELDS = ["model", "optimizer", "scheduler", "engine", "random", "start", "schedule_runs"]


def check(network: Network, state: object) -> Mapping[str, Any]:
    """The state itself, once names, shapes, dtypes and kinds are those of the network.

    The engine checks its own part when it loads it.

    Raises:
        StateError: something does not fit; it is named.
    """
    saved = section(state, FIELDS, "the saved network")
    if type(saved["start"]) is not int or saved["start"] < 0:
        raise StateError(f"the saved network begins at step {saved['start']!r}")
    if type(saved["schedule_runs"]) is not bool:
        raise StateError(f"schedule_runs is {saved['schedule_runs']!r}, not true or false")
    tensors(network.model.state_dict(), saved["model"])
    _optimizer(network.optimizer, saved["optimizer"])
    _schedule(network.scheduler, saved["scheduler"])
    zeros(saved["model"], masks_in(saved["engine"], network.engine.store))
    return saved


def masks_in(engine: object, like: MaskStore) -> MaskStore:
    """The masks in a saved engine.

    Raises:
        StateError: there are none, or they do not fit.
    """
    if not isinstance(engine, Mapping) or not isinstance(engine.get("masks"), Mapping):
        raise StateError("the saved engine has no masks")
    store = like.fork()
    store.load_state_dict(engine["masks"])
    return store


def zeros(model: Mapping[str, Tensor], masks: MaskStore) -> None:
    """Every weight that the masks say is asleep is +0.0 in the saved model.

    Raises:
        StateError: one is not.
    """
    for name in masks.entries():
        asleep, value = masks.asleep_bits(name), model.get(name)
        if asleep is None or value is None:
            continue
        there = value.reshape(-1)[bits.unpack(asleep, (value.numel(),))]
        wrong = int(((there != 0) | torch.signbit(there)).sum())
        if wrong:
            raise StateError(f"{wrong} weights of {name!r} are asleep by the masks and not zero")


def tensors(mine: Mapping[str, Any], saved: object) -> None:
    """The saved model has the names, shapes and dtypes of the model.

    Raises:
        StateError: it has others.
    """
    found = section(saved, list(mine), "the saved model")
    for name, value in mine.items():
        there = found[name]
        if not isinstance(value, Tensor):
            continue
        if not isinstance(there, Tensor):
            raise StateError(f"{name!r} of the saved model is a {type(there).__name__}")
        if (there.shape, there.dtype) != (value.shape, value.dtype):
            raise StateError(
                f"{name!r} is {value.dtype} {list(value.shape)} here, {there.dtype} "
                f"{list(there.shape)} in the saved model"
            )


def _optimizer(optimizer: Optimizer, saved: object) -> None:
    mine = optimizer.state_dict()
    found = section(saved, list(mine), "the saved optimizer")
    groups = found["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(mine["param_groups"]):
        raise StateError("the saved optimizer has other parameter groups")
    for group, there in zip(mine["param_groups"], groups, strict=True):
        fields = section(there, list(group), "a parameter group of the saved optimizer")
        if fields["params"] != group["params"]:
            raise StateError("the saved optimizer has other parameters")
        for name, value in group.items():
            if not _alike(value, fields[name]):
                raise StateError(
                    f"{name} of the saved optimizer is {fields[name]!r}, not {value!r}"
                )
    state = found["state"]
    if not isinstance(state, Mapping):
        raise StateError("the state of the saved optimizer is no dict")
    params = [param for group in optimizer.param_groups for param in group["params"]]
    elementwise = type(optimizer).__name__ in OPTIMIZERS.entries
    for number, entries in state.items():
        if type(number) is not int or not 0 <= number < len(params):
            raise StateError(f"the saved optimizer has state for a parameter {number!r}")
        if not isinstance(entries, Mapping) or not all(isinstance(key, str) for key in entries):
            raise StateError(f"the state of parameter {number} in the saved optimizer is no dict")
        shapes = {params[number].shape, torch.Size(()), torch.Size((1,))}
        for key, value in entries.items():
            if elementwise and isinstance(value, Tensor) and value.shape not in shapes:
                raise StateError(
                    f"{key} of parameter {number} in the saved optimizer has shape "
                    f"{list(value.shape)}, the parameter {list(params[number].shape)}"
                )


def _schedule(scheduler: Any, saved: object) -> None:
    if (saved is None) != (scheduler is None):
        raise StateError("the saved network has another LR schedule than the configuration")
    if scheduler is None:
        return
    mine = scheduler.state_dict()
    if not isinstance(saved, Mapping):
        raise StateError("the saved LR schedule is no dict")
    for name, value in saved.items():
        if name not in mine:
            raise StateError(f"the saved LR schedule has an unknown {name!r}")
        if not _alike(mine[name], value):
            raise StateError(f"{name} of the saved LR schedule is {value!r}, not {mine[name]!r}")
    missing = [name for name in mine if name not in saved]
    if missing:
        raise StateError(f"the saved LR schedule lacks {missing}")


def _alike(mine: object, saved: object) -> bool:
    """Whether a plain value could stand where another stands: numbers for numbers, lists alike."""
    if mine is None or saved is None:
        return True
    if isinstance(mine, bool) or isinstance(saved, bool):
        return type(mine) is type(saved)
    if isinstance(mine, (int, float, Tensor)):
        return isinstance(saved, (int, float, Tensor))
    if isinstance(mine, (list, tuple)):
        return isinstance(saved, type(mine)) and len(saved) == len(mine)
    if isinstance(mine, Mapping):
        return isinstance(saved, Mapping)
    return type(mine) is type(saved)
