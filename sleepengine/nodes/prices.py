"""What a model costs in all, and what of it goes with sleeping nodes, counted on what remains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import Slice
from sleepengine.nodes.work import Work


@final
class NodePrices:
    """Entries and operations that would go if the nodes that sleep were cut out.

    An entry goes when a node that owns it sleeps. Of a product with a weight as many operations go
    as of the weight's entries, in proportion; of products of activations in an attention
    (`works_in` of the group) each head has an equal part.

    Args:
        groups: all groups of the model by name.
        shapes: of all parameters.
        now: group name -> bool (size,), the nodes that sleep already.
        work: measures the operations; None where there are no example inputs.

    >>> group = NodeGroup("a", 4, [Slice("a")], [Slice("b", 1)])
    >>> shapes = {"a": torch.Size([4, 5]), "b": torch.Size([3, 4]), "c": torch.Size([2])}
    >>> prices = NodePrices({"a": group}, shapes, {})
    >>> prices.parameters({"a": torch.tensor([True, False, False, True])})  # 2 * 5 + 3 * 2
    (16, 34)
    """

    def __init__(
        self,
        groups: Mapping[str, NodeGroup],
        shapes: Mapping[str, torch.Size],
        now: Mapping[str, Tensor],
        work: Callable[[], Work] | None = None,
    ) -> None:
        self._groups, self._shapes, self._work = groups, shapes, work
        self._now = {name: mask.cpu() for name, mask in now.items()}
        self._own: dict[str, list[tuple[NodeGroup, Slice]]] = {}
        for group in groups.values():
            for one in group.slices():
                self._own.setdefault(one.param, []).append((group, one))

    def parameters(self, asleep: Mapping[str, Tensor]) -> tuple[int, int]:
        """Entries of parameters: those of sleeping nodes, all."""
        gone = self._gone(asleep)
        return sum(gone.values()), sum(shape.numel() for shape in self._shapes.values())

    def flops(self, asleep: Mapping[str, Tensor]) -> tuple[int, int]:
        """Operations of one forward pass: those of sleeping nodes, all.

        Raises:
            SetupError: there are no example inputs.
        """
        if self._work is None:
            raise SetupError("FLOPs are counted in a forward pass: give the engine example_inputs=")
        work, gone = self._work(), self._gone(asleep)
        count = sum(
            work.of_weights.get(name, 0) * k // self._shapes[name].numel()
            for name, k in gone.items()
        )
        for name, mask in self._all(asleep).items():
            group = self._groups[name]
            inside = sum(work.between.get(path, 0) for path in group.works_in)
            count += inside * int(mask.sum()) // group.size
        return count, work.total

    def _all(self, asleep: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**self._now, **{name: mask.cpu() for name, mask in asleep.items()}}

    def _gone(self, asleep: Mapping[str, Tensor]) -> dict[str, int]:
        """Parameter name -> entries that a sleeping node owns."""
        masks = self._all(asleep)
        gone: dict[str, int] = {}
        for name, own in self._own.items():
            mine = [(masks[g.name], one) for g, one in own if g.name in masks]
            if any(bool(mask.any()) for mask, _ in mine):
                shape = self._shapes[name]
                gone[name] = shape.numel() - _remaining(shape, mine)
        return gone


def _remaining(shape: Sequence[int], own: Sequence[tuple[Tensor, Slice]]) -> int:
    """Entries that no sleeping node owns: whole lines go, so a product of counts does."""
    kept = [torch.ones(size, dtype=torch.bool) for size in shape]
    blocks: list[tuple[int, Tensor]] = []  # grouped convolutions: columns of each block
    for asleep, one in own:
        owners, at = one.pairs(asleep.numel())
        lost = at[asleep[owners]]
        if one.groups == 1:
            kept[one.dim][lost] = False
        else:
            columns = torch.ones(one.groups * shape[1], dtype=torch.bool)
            columns[lost] = False
            blocks.append((one.groups, columns))
    inner = 1
    for line in kept[2:]:
        inner *= int(line.sum())
    if not blocks:
        front = [int(line.sum()) for line in kept[:2]]
        return inner * front[0] * (front[1] if len(front) > 1 else 1)
    alive = kept[0][:, None] & kept[1][None, :]
    for count, columns in blocks:
        alive &= columns.view(count, shape[1]).repeat_interleave(shape[0] // count, 0)
    return inner * int(alive.sum())
