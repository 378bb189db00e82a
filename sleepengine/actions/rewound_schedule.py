"""Learning rates and LR schedulers go back to a kept point, and are compared with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sleepengine.actions.kept_points import KeptPoint
from sleepengine.actions.live import Live
from sleepengine.errors import SleepError


class RewindError(SleepError, RuntimeError):
    """After a rewind something was not what the kept point says."""


@torch.no_grad()
def rewind_schedule(live: Live, point: KeptPoint, said: str) -> None:
    """Write hyperparameters of the optimizers and states of the schedulers, as they were kept.

    Raises:
        RewindError: something is not what was kept; `said` is how the message begins.
    """
    for optimizer, kept in zip(live.optimizers, point.optimizers, strict=True):
        for group, saved in zip(optimizer.param_groups, kept["param_groups"], strict=True):
            for key, value in saved.items():
                if key == "params":
                    continue
                if isinstance(group.get(key), Tensor) and isinstance(value, Tensor):
                    group[key].copy_(value)  # a captured graph reads this tensor
                else:
                    group[key] = copy.deepcopy(value)
    for scheduler, state in zip(live.schedulers, point.schedulers, strict=True):
        scheduler.load_state_dict(copy.deepcopy(state))
    wrong = schedule_differs(live, point)
    if wrong:
        raise RewindError(f"{said} did not bring back: {', '.join(wrong[:8])}")


def schedule_differs(live: Live, point: KeptPoint) -> list[str]:
    """What of the schedule is not as it was kept, in words; compared with no tolerance."""
    wrong: list[str] = []
    for optimizer, kept in zip(live.optimizers, point.optimizers, strict=True):
        groups = zip(optimizer.param_groups, kept["param_groups"], strict=True)
        for number, (group, saved) in enumerate(groups):
            wrong += [
                f"{key} of group {number} of {type(optimizer).__name__} "
                f"({group.get(key)!r}, kept {value!r})"
                for key, value in saved.items()
                if key != "params" and _differs(group.get(key), value)
            ]
    for scheduler, state in zip(live.schedulers, point.schedulers, strict=True):
        now = scheduler.state_dict()
        wrong += [
            f"{key} of {type(scheduler).__name__} ({now.get(key)!r}, kept {value!r})"
            for key, value in state.items()
            if _differs(now.get(key), value)
        ]
    return wrong


def _differs(now: Any, kept: Any) -> bool:
    """Whether plain values, tensors, or nests of them differ; other objects are not compared."""
    if isinstance(kept, Tensor) or isinstance(now, Tensor):
        both = torch.as_tensor(now).cpu(), torch.as_tensor(kept).cpu()
        return not torch.equal(*both) and not bool(both[1].isnan().any())
    if isinstance(kept, Mapping):
        if not isinstance(now, Mapping) or now.keys() != kept.keys():
            return True
        return any(_differs(now[key], value) for key, value in kept.items())
    if isinstance(kept, list | tuple):
        if not isinstance(now, list | tuple) or len(now) != len(kept):
            return True
        return any(_differs(one, other) for one, other in zip(now, kept, strict=True))
    if isinstance(kept, float) and kept != kept:
        return False
    return isinstance(kept, bool | int | float | str | None) and bool(now != kept)
