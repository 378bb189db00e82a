"""The tensors that a mask store speaks of: names, shapes, devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch

from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.masks.choice import Choice


@final
class Known:
    """Name -> shape and device, with the checks at the door of a store."""

    def __init__(
        self,
        shapes: Mapping[str, torch.Size],
        devices: Mapping[str, torch.device] | None = None,
    ) -> None:
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        given = {} if devices is None else devices
        for name in given:
            self.check(name)
        self.devices = {name: torch.device(given.get(name, "cpu")) for name in self.shapes}

    def check(self, name: str) -> None:
        """The name is known, else UnknownNameError."""
        if name not in self.shapes:
            raise UnknownNameError(
                f"the mask store knows no {name!r}. {did_you_mean(name, self.shapes)}"
            )

    def check_choice(self, choice: Choice) -> None:
        """Every name of the choice is known with its shape, else UnknownNameError, SetupError."""
        if not isinstance(choice, Choice):
            raise SetupError(
                f"expected a Choice, got {type(choice).__name__}; write Choice({{name: mask}})"
            )
        for name in choice:
            self.check(name)
            if choice.shape(name) != self.shapes[name]:
                raise SetupError(
                    f"the choice for {name!r} has shape {tuple(choice.shape(name))}, "
                    f"the parameter has {tuple(self.shapes[name])}"
                )

    def check_same(self, other: Known) -> None:
        """Both know the same names and shapes, else SetupError."""
        for name in [*self.shapes, *(n for n in other.shapes if n not in self.shapes)]:
            mine, theirs = self.shapes.get(name), other.shapes.get(name)
            if mine != theirs:
                raise SetupError(
                    f"the stores differ at {name!r}: "
                    f"{'not known' if mine is None else tuple(mine)} here, "
                    f"{'not known' if theirs is None else tuple(theirs)} there"
                )

    def total(self) -> int:
        """Entries of all tensors."""
        return sum(shape.numel() for shape in self.shapes.values())
