"""Kept points: what the run was at a moment, so that values and whole runs can come back to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from sleepengine.actions.live import Live
from sleepengine.errors import SetupError, StateError, did_you_mean

PARTS = frozenset({"weights", "buffers", "optimizer", "schedule", "data"})
"""What a kept point may hold."""


@dataclass(frozen=True)
class KeptPoint:
    """The state of a run at one moment; sleeping weights are kept with their parked values.

    finished: learning rates and schedulers are those with which the next step began; before it
    begins they are those of the step that was done.
    """

    step: int
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    optimizers: tuple[dict[str, Any], ...] = ()
    schedulers: tuple[dict[str, Any], ...] = ()
    samplers: tuple[dict[str, Any], ...] = ()
    finished: bool = True

    def weight(self, name: str) -> Tensor:
        """The kept value of one parameter.

        Raises:
            SetupError: if the parameter was not kept.
        """
        if name not in self.weights:
            raise SetupError(f"{name} was not kept at step {self.step}")
        return self.weights[name]


def take(live: Live, step: int, parts: frozenset[str]) -> KeptPoint:
    """Copy the asked-for parts of the live run."""
    weights: dict[str, Tensor] = {}
    if "weights" in parts:
        for name, parameter in live.params.items():
            value = parameter.detach().clone()
            asleep = live.store.asleep_bits(name)
            if asleep is not None:
                live.parked[name].fill_into(value, asleep)
            weights[name] = value
    return KeptPoint(
        step=step,
        weights=weights,
        buffers={n: b.detach().clone() for n, b in live.buffers().items()}
        if "buffers" in parts
        else {},
        optimizers=tuple(copy.deepcopy(o.state_dict()) for o in live.optimizers)
        if parts & {"optimizer", "schedule"}
        else (),
        schedulers=tuple(copy.deepcopy(s.state_dict()) for s in live.schedulers)
        if "schedule" in parts
        else (),
        samplers=tuple(copy.deepcopy(s.state_dict()) for s in live.samplers)
        if "data" in parts
        else (),
        finished="schedule" not in parts,
    )


def _groups_now(optimizer: Optimizer, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The hyperparameters as they are; `state_dict()` would expand small tensors in a backward."""
    return [
        copy.deepcopy({k: v for k, v in group.items() if k != "params"})
        | {"params": list(saved["params"])}
        for group, saved in zip(optimizer.param_groups, kept, strict=True)
    ]


class KeptPoints:
    """Kept points by tag: "init" (the first attach) or a time such as "500it"."""

    def __init__(self) -> None:
        self._points: dict[str, KeptPoint] = {}
        self._unfinished: set[str] = set()

    def __getitem__(self, tag: str) -> KeptPoint:
        """The point, or an error that lists what is kept."""
        if tag not in self._points:
            near = f"{did_you_mean(tag, self._points)} " if self._points else ""
            raise SetupError(
                f"nothing was kept at {tag!r}. {near}Points are kept from attach on, where a rule "
                f'asks for them; ask for one yourself with SleepEngine(..., keep=("{tag}",))'
            )
        return self._points[tag]

    def __contains__(self, tag: object) -> bool:
        """Whether the point is kept already."""
        return tag in self._points

    def __iter__(self) -> Iterator[str]:
        """The tags."""
        return iter(self._points)

    def keep(self, tag: str, live: Live, step: int, parts: frozenset[str]) -> None:
        """Keep the run as it is now under `tag`; a tag that is kept already stays as it is."""
        if tag not in self._points:
            point = self._points[tag] = take(live, step, parts)
            if not point.finished:
                self._unfinished.add(tag)

    @property
    def unfinished(self) -> bool:
        """Whether a point still waits for the schedule of the next step."""
        return bool(self._unfinished)

    def finish(self, live: Live) -> None:
        """Learning rates and schedulers of the points that wait are those of now."""
        for tag in self._unfinished:
            point = self._points[tag]
            self._points[tag] = replace(
                point,
                optimizers=tuple(
                    {**kept, "param_groups": _groups_now(o, kept["param_groups"])}
                    for kept, o in zip(point.optimizers, live.optimizers, strict=True)
                ),
                schedulers=tuple(copy.deepcopy(s.state_dict()) for s in live.schedulers),
                finished=True,
            )
        self._unfinished = set()

    def state_dict(self) -> dict[str, Any]:
        """Every point, as plain values and tensors."""
        return {
            tag: {
                "step": point.step,
                "weights": dict(point.weights),
                "buffers": dict(point.buffers),
                "optimizers": list(point.optimizers),
                "schedulers": list(point.schedulers),
                "samplers": list(point.samplers),
                "finished": point.finished,
            }
            for tag, point in self._points.items()
        }

    def check(self, state: Mapping[str, Any], live: Live) -> dict[str, KeptPoint]:
        """Read a saved state without applying it.

        Raises:
            StateError: if a kept weight does not fit the model.
        """
        points: dict[str, KeptPoint] = {}
        for tag, saved in state.items():
            for name, value in saved["weights"].items():
                parameter = live.params.get(name)
                if parameter is None or parameter.shape != value.shape:
                    have = "no such parameter" if parameter is None else tuple(parameter.shape)
                    raise StateError(
                        f"kept point {tag!r}: {name} has shape {tuple(value.shape)}, model: {have}"
                    )
            points[tag] = KeptPoint(
                step=int(saved["step"]),
                weights={
                    n: v.to(live.params[n].device, live.params[n].dtype, copy=True)
                    for n, v in saved["weights"].items()
                },
                buffers={n: torch.clone(v) for n, v in saved["buffers"].items()},
                optimizers=tuple(copy.deepcopy(list(saved["optimizers"]))),
                schedulers=tuple(copy.deepcopy(list(saved["schedulers"]))),
                samplers=tuple(copy.deepcopy(list(saved["samplers"]))),
                finished=bool(saved["finished"]),
            )
        return points

    def replace(self, points: dict[str, KeptPoint]) -> None:
        """Hold exactly these points."""
        self._points = dict(points)
        self._unfinished = {tag for tag, point in points.items() if not point.finished}
