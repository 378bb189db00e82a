"""What an inverse curvature can answer about weights, whatever form it is kept in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from saliency.curvature import blocks
from saliency.curvature.flat import Layout
from saliency.curvature.request import CurvatureRequest


class Inverse(ABC):
    """The inverse V of a curvature H over the awake weights, with their values w."""

    @abstractmethod
    def diagonal(self) -> dict[str, Tensor]:
        """V_qq by name; meaningless where asleep."""

    @abstractmethod
    def remove(self, chosen: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """Loss and survivors' update of removing all chosen weights together.

        Args:
            chosen: name -> bool, True = to be removed; sleepers and absent names are not.

        Returns: 1/2 w_Q' (V_QQ)^-1 w_Q, and -V_Q (V_QQ)^-1 w_Q by name, which is 0 where chosen
        or asleep.
        """


class InverseRequest(CurvatureRequest):
    """A request for an inverse; `open` turns what it gave into answers."""

    @abstractmethod
    def open(
        self,
        curvature: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        awake: Mapping[str, Tensor],
    ) -> Inverse:
        """The inverse over the awake entries of these weights; `awake` may lack names.

        Raises:
            ValueError: The curvature is not of these weights.
        """


@final
@dataclass(frozen=True)
class Part:
    """Blocks [k, B, B] over the entries of some parameters in order; the last one is padded.

    Attributes:
        layout: The parameters.
        inverse: The blocks.
    """

    layout: Layout
    inverse: Tensor

    def cut(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """These parameters' entries as [k, B], with 0 or False as padding."""
        flat = self.layout.flat({name: tensors[name] for name in self.layout.names})
        out = flat.new_zeros(self.inverse.shape[:2].numel())
        out[: len(flat)] = flat
        return out.reshape(self.inverse.shape[:2])

    def join(self, values: Tensor) -> dict[str, Tensor]:
        """[k, B] by name, without the padding."""
        return self.layout.named(values.flatten()[: self.layout.size])


@final
class BlockInverse(Inverse):
    """An inverse in blocks; a dense one is a single block over all parameters.

    Attributes:
        parts: The blocks, cut down to the awake entries.
        values: Per part, the awake values [k, B].
        asleep: Per part, what sleeps or is padding [k, B].
    """

    def __init__(
        self, parts: list[Part], weights: Mapping[str, Tensor], awake: Mapping[str, Tensor]
    ) -> None:
        up = {n: awake.get(n, torch.ones_like(w, dtype=torch.bool)) for n, w in weights.items()}
        self._weights = weights
        self.parts: list[Part] = []
        self.values: list[Tensor] = []
        self.asleep: list[Tensor] = []
        for part in parts:
            asleep = ~part.cut(up)
            values = part.cut(weights).to(part.inverse.dtype).masked_fill(asleep, 0)
            self.parts.append(Part(part.layout, blocks.without(part.inverse, asleep)))
            self.values.append(values)
            self.asleep.append(asleep)

    def diagonal(self) -> dict[str, Tensor]:
        """V_qq by name; 1 where asleep."""
        found: dict[str, Tensor] = {}
        for part in self.parts:
            found.update(part.join(part.inverse.diagonal(dim1=-2, dim2=-1)))
        return found

    def remove(self, chosen: Mapping[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
        """Loss and survivors' update; blocks do not interact."""
        none = {n: torch.zeros_like(w, dtype=torch.bool) for n, w in self._weights.items()}
        masks = {**none, **chosen}
        total, update = 0.0, dict[str, Tensor]()
        for part, values, asleep in zip(self.parts, self.values, self.asleep, strict=True):
            loss, change = blocks.remove(part.inverse, values, part.cut(masks) & ~asleep)
            total += float(loss.sum(dtype=torch.float64))
            update.update(part.join(change.masked_fill(asleep, 0)))
        return total, update


def block_parts(
    owner: str,
    block: int | None,
    curvature: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
) -> list[Part]:
    """What `dense` or `in_blocks` stored, as parts.

    Raises:
        ValueError: The shapes are not those of these weights.
    """
    given = {name: curvature[name] for name in weights}
    size = sum(w.numel() for w in weights.values())
    for name, w in weights.items():
        if block is None:
            expected: tuple[int, ...] = (w.numel(), size)
        else:
            width = min(block, max(w.numel(), 1))
            expected = (-(-w.numel() // width), width, width)
        if tuple(given[name].shape) != expected:
            raise ValueError(
                f"{owner}: the curvature of {name!r} has shape {tuple(given[name].shape)}, "
                f"expected {expected}; ask for it with these weights and no others."
            )
    if block is None:
        return [Part(Layout.of(weights), torch.cat(list(given.values()))[None])]
    return [Part(Layout.of({name: w}), given[name]) for name, w in weights.items()]
