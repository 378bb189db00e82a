"""Rewind: the run goes back to a kept point while its masks stay."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sleepengine.actions.action import Action, Context
from sleepengine.actions.initialise import fresh_values
from sleepengine.actions.kept_points import KeptPoint
from sleepengine.actions.live import Live
from sleepengine.actions.rewound_schedule import RewindError, rewind_schedule
from sleepengine.actions.values import write_entries_
from sleepengine.errors import SetupError
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@dataclass(frozen=True)
class Rewind(Action):
    """w[awake] = w_kept[awake], with buffers, optimizer state and LR schedule as they were then.

    to: "init" (the first attach), a kept time such as "500it", or "fresh" (a new draw: the random
    re-initialisation control). Each part can be left out: `weights`, `buffers`, `optimizer`,
    `schedule`; `data=True` also rewinds the samplers. Learning-rate rewinding is
    `Rewind(to=..., weights=False, buffers=False, optimizer=False)`. Frozen weights and parked
    values stay as they are unless `frozen=True` / `parked=True`. Verified after the act, with no
    tolerance. A rule rewinds the schedule at once and again when the next step begins: the training
    loop may move it in between.
    Source: Frankle and Carbin 2019; Frankle et al. 2020; Renda et al. 2020.

    Raises:
        SetupError: if nothing would be rewound.
        RewindError: after the act, if any part is not what was kept.
    """

    to: str = "init"
    weights: bool = True
    buffers: bool = True
    optimizer: bool = True
    schedule: bool = True
    data: bool = False
    frozen: bool = False
    parked: bool = False
    event: ClassVar[str] = "REWOUND"
    chooses: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse a rewind of nothing."""
        if not isinstance(self.to, str) or not self.to:
            raise SetupError(f"Rewind(to={self.to!r}): give 'init', 'fresh' or a time as '500it'")
        if not self.parts:
            raise SetupError(f"{self!r} rewinds nothing: leave at least one part on")

    @property
    def parts(self) -> frozenset[str]:
        """The parts that go back."""
        chosen = {
            "weights": self.weights,
            "buffers": self.buffers,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "data": self.data,
        }
        return frozenset(part for part, wanted in chosen.items() if wanted)

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """The point to go back to; a fresh draw goes back to "init" for all but the weights."""
        if self.to == "fresh":
            return {"init": self.parts - {"weights"}}
        return {self.to: self.parts}

    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """All awake weights."""
        return store.awake(name) if self.frozen else store.trainable(name)

    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """Nothing is counted."""
        return None

    def apply(self, context: Context, choice: Choice) -> Choice:
        """Write everything once the masks of the transaction are in force."""
        context.require(self._check)
        context.afterwards(self._rewind)
        return choice

    def _check(self, live: Live) -> None:
        """The kept point has every part that is to go back."""
        tag, needed = next(iter(self.kept_points.items()))
        point = live.kept[tag]
        there = {
            "weights": set(point.weights) >= set(live.params),
            "buffers": set(point.buffers) >= set(live.buffers()),
            "optimizer": len(point.optimizers) == len(live.optimizers),
            "schedule": len(point.optimizers) == len(live.optimizers)
            and len(point.schedulers) == len(live.schedulers),
            "data": len(point.samplers) == len(live.samplers),
        }
        missing = sorted(part for part in needed if not there[part])
        if missing:
            raise SetupError(
                f"{self!r}: {', '.join(missing)} not kept at {tag!r}; name it in keep=({tag!r},)"
            )

    def _rewind(self, live: Live) -> None:
        point = live.kept["init" if self.to == "fresh" else self.to]
        written = self._rewind_weights(live, point) if self.weights else {}
        if self.buffers:
            for name, buffer in live.buffers().items():
                buffer.copy_(point.buffers[name])
        if self.optimizer:
            for optimizer, kept in zip(live.optimizers, point.optimizers, strict=True):
                groups = optimizer.state_dict()["param_groups"]
                state = {"state": kept["state"], "param_groups": groups}
                optimizer.load_state_dict(copy.deepcopy(state))
            if any(live.state.inactive(name) is not None for name in live.store.entries()):
                live.rest()
        if self.schedule and point.finished:  # else the moment is now: the schedule is there
            live.kept.finish(live)
            live.rewound = None
            rewind_schedule(live, point, repr(self))
        if self.data:
            for sampler, kept_order in zip(live.samplers, point.samplers, strict=True):
                sampler.load_state_dict(copy.deepcopy(kept_order))
        self._verify(live, point, written)

    def rewind_again(self, live: Live) -> None:
        """The schedule comes back once more when the next step begins."""
        tag = next(iter(self.kept_points))
        if self.schedule and live.kept[tag].finished:
            live.rewound = tag

    def _rewind_weights(self, live: Live, point: KeptPoint) -> dict[str, Tensor]:
        """Write the values; returns the source of each tensor, for the check."""
        sources: dict[str, Tensor] = {}
        for name, parameter in live.params.items():
            source = fresh_values(live, name) if self.to == "fresh" else point.weight(name)
            sources[name] = source
            write_entries_(parameter, source, self._goes_back(live.store, name))
            asleep = live.store.asleep_bits(name)
            if self.parked and asleep is not None:
                live.parked[name].put(source, asleep)
        return sources

    def _goes_back(self, store: MaskStore, name: str) -> Tensor:
        """Packed bits of the entries of one parameter that are rewound."""
        stays = store.asleep_bits(name) if self.frozen else None
        moves = bits.bit_not(stays, store.numel(name)) if stays is not None else None
        if not self.frozen:
            moves = store.trainable_bits(name)
        return bits.full(store.numel(name), store.device(name)) if moves is None else moves

    def _verify(self, live: Live, point: KeptPoint, sources: dict[str, Tensor]) -> None:
        wrong: list[str] = []
        for name, source in sources.items():
            parameter = live.params[name].detach()
            moved = bits.unpack(self._goes_back(live.store, name), parameter.shape)
            differs = ~_same_bits(parameter, source.to(parameter.device, parameter.dtype)) & moved
            asleep = live.store.asleep_bits(name)
            if asleep is not None:
                leaks = ~_same_bits(parameter, torch.zeros_like(parameter))
                differs = differs | (leaks & bits.unpack(asleep, parameter.shape))
            if bool(differs.any()):
                wrong.append(f"{name} ({int(differs.sum())} of {differs.numel()} weights)")
        if self.buffers:
            wrong += [
                f"buffer {name}"
                for name, buffer in live.buffers().items()
                if not torch.equal(buffer.cpu(), point.buffers[name].cpu())
                and not bool(buffer.isnan().any())
            ]
        if wrong:
            raise RewindError(f"{self!r} did not bring back: {', '.join(wrong[:8])}")


def _same_bits(a: Tensor, b: Tensor) -> Tensor:
    """Elementwise equality of bit patterns, so that -0.0 differs from 0.0 and NaN equals itself."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    result: Tensor = a.contiguous().view(integer) == b.contiguous().view(integer)
    return result
