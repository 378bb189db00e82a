"""Entries of buffers that must not move: running statistics of sleeping and frozen nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.errors import StateError
from sleepengine.names import canonical, unwrap


@final
class HeldBuffers:
    """Held entries are put back to the value they had when they were first held.

    A forward pass in training mode moves running statistics; no hook of a parameter or optimizer
    can stop it. So they are put back around every step, and exactly before anything reads them:
    when they are let go, at detach and at save.

    >>> norm = nn.BatchNorm1d(2)
    >>> held = HeldBuffers(norm)
    >>> held.hold({"running_mean": torch.tensor([True, False])})
    >>> _ = norm.running_mean.fill_(5.0)
    >>> held.repair(); norm.running_mean.tolist()
    [0.0, 5.0]
    """

    def __init__(self, model: nn.Module) -> None:
        self._places: dict[str, tuple[nn.Module, str]] = {}
        for prefix, module in unwrap(model).named_modules():
            for attribute, buffer in module._buffers.items():
                if buffer is not None:
                    name = canonical(f"{prefix}.{attribute}" if prefix else attribute)
                    self._places.setdefault(name, (module, attribute))
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}  # name -> (mask, values)

    def __len__(self) -> int:
        """How many buffers have held entries."""
        return len(self._kept)

    def shapes(self) -> dict[str, torch.Size]:
        """Buffer name -> shape."""
        return {name: self.buffer(name).shape for name in self._places}

    def buffer(self, name: str) -> Tensor:
        """The buffer as the model holds it now."""
        module, attribute = self._places[name]
        buffer: Tensor = getattr(module, attribute)
        return buffer

    def module(self, name: str) -> tuple[nn.Module, str]:
        """The module of a buffer, and its attribute."""
        return self._places[name]

    @torch.no_grad()
    def hold(self, masks: Mapping[str, Tensor]) -> None:
        """Hold exactly these entries; new ones at their value now, others get theirs and go."""
        self.repair()
        for name in [*self._kept, *(n for n in masks if n not in self._kept)]:
            mask = masks.get(name)
            if mask is None or not bool(mask.any()):
                self._kept.pop(name, None)
                continue
            # What was held was put back above, so the buffer holds every value that is to be kept.
            self._kept[name] = (mask.clone(), self.buffer(name).detach().clone())

    @torch.no_grad()
    def repair(self) -> None:
        """Put every held entry back."""
        for name, (mask, values) in self._kept.items():
            buffer = self.buffer(name)
            where = mask.to(buffer.device)
            buffer.copy_(torch.where(where, values.to(buffer.device, buffer.dtype), buffer))

    @torch.no_grad()
    def write(self, name: str, mask: Tensor, values: Tensor) -> None:
        """Give entries a new value, which is held from now on where they are held."""
        buffer = self.buffer(name)
        buffer.copy_(torch.where(mask.to(buffer.device), values.to(buffer.device), buffer))
        if name in self._kept:
            held, kept = self._kept[name]
            self._kept[name] = (held, torch.where(mask.to(kept.device), values.to(kept), kept))

    def kept(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Buffer name -> mask and values of what is held."""
        return dict(self._kept)

    def exchange(
        self, kept: Mapping[str, tuple[Tensor, Tensor]]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Hold these from now on, of buffers that were given another size; returns the old ones."""
        before, self._kept = self._kept, dict(kept)
        return before

    def image(self, names: Iterable[str]) -> BufferImage:
        """These buffers and everything that is held, as they are now."""
        self.repair()
        return BufferImage({n: self.buffer(n).detach().clone() for n in names}, dict(self._kept))

    @torch.no_grad()
    def put_back(self, image: BufferImage) -> None:
        """Make buffers and what is held as they were."""
        for name, value in image.values.items():
            self.buffer(name).copy_(value)
        self._kept = dict(image.kept)

    def state_dict(self) -> dict[str, Any]:
        """Buffer name -> mask and values of what is held."""
        return {
            name: {"mask": mask.cpu().clone(), "values": values.cpu().clone()}
            for name, (mask, values) in self._kept.items()
        }

    def check(self, state: object) -> dict[str, tuple[Tensor, Tensor]]:
        """A saved state, checked and not applied.

        Raises:
            StateError: a name, shape or dtype does not fit.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"held buffers must be a dict, got {type(state).__name__}")
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for name, entry in state.items():
            if name not in self._places:
                raise StateError(f"held buffers: the model has no buffer {name!r}")
            like = self.buffer(name)
            mask, values = entry["mask"], entry["values"]
            if mask.dtype != torch.bool or mask.shape != like.shape:
                raise StateError(f"held buffers: the mask of {name!r} does not fit the buffer")
            if values.dtype != like.dtype or values.shape != like.shape:
                raise StateError(f"held buffers: the values of {name!r} do not fit the buffer")
            found[name] = (mask.to(like.device, copy=True), values.to(like.device, copy=True))
        return found

    def load(self, kept: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Hold what `check` returned, and write it."""
        self._kept = dict(kept)
        self.repair()


@final
class BufferImage:
    """Values of buffers and what is held, at one moment."""

    def __init__(
        self, values: Mapping[str, Tensor], kept: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        self.values = values
        self.kept = kept
