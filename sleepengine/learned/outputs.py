"""Units of whole outputs: the rows of a layer's weight together with its bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from sleepengine.choosing.reductions import Mean, Reduction
from sleepengine.choosing.units import Units
from sleepengine.errors import SetupError


@final
@dataclass(frozen=True)
class Outputs(Units):
    """A unit is one output of a layer: index i along dimension 0 of all its parameters in scope.

    "fc1.weight" (O, I) and "fc1.bias" (O,) share the units "fc1" (O,), so that an output that
    sleeps has no bias either: it is exactly 0 before the activation.

    Raises:
        SetupError: parameters of one layer differ in their first dimension.

    >>> scores = {"fc.weight": torch.tensor([[1.0, 3.0], [0.0, 8.0]]), "fc.bias": torch.ones(2)}
    >>> units = Outputs()
    >>> {name: scores.tolist() for name, scores in units.pool(scores).items()}
    {'fc': [1.6666666269302368, 3.0]}
    >>> shapes = {name: s.shape for name, s in scores.items()}
    >>> units.spread({"fc": torch.tensor([True, False])}, shapes)["fc.weight"].tolist()
    [[True, True], [False, False]]
    """

    reduce: Reduction = field(default_factory=Mean)

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The rows of each layer side by side, reduced to one number."""
        return {layer: self.reduce(rows, (1,)) for layer, rows in _rows(scores).items()}

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> dict[str, Tensor]:
        """(O,) -> the shape of every parameter of the layer."""
        found: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            if (layer := _layer(name)) in chosen:
                column = chosen[layer].reshape(-1, *[1] * (len(shape) - 1))
                found[name] = column.expand(shape).contiguous()
        return found

    def all_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for outputs that are wholly True."""
        return self._over(masks, lambda rows: rows.all(1))

    def any_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for outputs with a True."""
        return self._over(masks, lambda rows: rows.any(1))

    def _over(
        self, masks: Mapping[str, Tensor], reduce: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        return {layer: reduce(rows) for layer, rows in _rows(masks).items()}


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name


def _rows(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layer -> (O, all entries of an output, over its parameters)."""
    parts: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        if tensor.dim() == 0:
            raise SetupError(f"Outputs(): {name!r} is a single number and has no outputs")
        rows = tensor.reshape(tensor.shape[0], -1)
        others = parts.setdefault(_layer(name), [])
        if others and len(others[0]) != len(rows):
            raise SetupError(
                f"Outputs(): {name!r} has {len(rows)} rows, another parameter of "
                f"{_layer(name)!r} has {len(others[0])}"
            )
        others.append(rows)
    return {layer: torch.cat(rows, 1) for layer, rows in parts.items()}
