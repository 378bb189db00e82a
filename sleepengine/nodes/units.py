"""Nodes as units: what changes together is a node, with all that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import ClassVar, final

import torch
from torch import Tensor

from sleepengine.choosing.reductions import Mean, Reduction
from sleepengine.choosing.units import Units
from sleepengine.errors import SetupError, UnknownNameError, did_you_mean
from sleepengine.nodes.group import NodeGroup, spread
from sleepengine.nodes.sides import Side
from sleepengine.nodes.slices import gathered


@final
@dataclass(frozen=True, repr=False)
class Nodes(Units):
    """A unit is a node; its score is the reduction of its weights' scores on one side.

    Scores of parameters -> group name -> (size,). With `Side.SCALE` and `Magnitude()` it is the
    BatchNorm factor |gamma| that decides (network slimming, Liu et al. 2017).

    Args:
        groups: the node groups; none = all groups of the engine.
        reduce: Mean(), Total(), Max() or Norm(p).
        over: whose scores count: INCOMING (default), OUTGOING, SCALE, SHIFT or ALL.
        against: a side by whose mean |w| the score is divided, None (default) = 1. Utility over
            OUTGOING against INCOMING is the adaptable contribution of Dohare, Sutton and Mahmood
            2021 (arXiv:2108.06325): nodes with small incoming weights learn anew most easily.

    Raises:
        SetupError: something is no group, reduction or side.

    >>> from sleepengine.nodes.slices import Slice
    >>> fc1 = NodeGroup("fc1", 2, [Slice("fc1.weight")], [Slice("fc2.weight", 1)])
    >>> Nodes([fc1]).pool({"fc1.weight": torch.tensor([[1.0, 3.0], [0.0, 8.0]])})
    {'fc1': tensor([2., 4.])}
    """

    groups: Sequence[NodeGroup] = ()
    reduce: Reduction = field(default_factory=Mean)
    over: Side = Side.INCOMING
    against: Side | None = None
    priced: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.groups, NodeGroup):
            raise SetupError(f"Nodes(groups=...) is a list of groups: write [{self.groups.name}]")
        object.__setattr__(self, "groups", tuple(self.groups))
        for group in self.groups:
            if not isinstance(group, NodeGroup):
                raise SetupError(f"Nodes(groups=...) holds {group!r}, which is no NodeGroup")
        if not isinstance(self.reduce, Reduction):
            raise SetupError(f"Nodes(reduce={self.reduce!r}): write Mean(), Total(), Max(), Norm()")
        if not isinstance(self.over, Side):
            raise SetupError(f"Nodes(over={self.over!r}): write Side.INCOMING, Side.SCALE, ...")
        if self.against is not None and not isinstance(self.against, Side):
            raise SetupError(f"Nodes(against={self.against!r}): write Side.INCOMING, or None")

    def __repr__(self) -> str:
        names = ", ".join(group.name for group in self.groups[:6])
        more = f" and {len(self.groups) - 6} more" if len(self.groups) > 6 else ""
        against = "" if self.against is None else f", against={self.against}"
        return f"Nodes([{names}{more}], {self.reduce!r}, over={self.over}{against})"

    def bound(
        self, groups: Mapping[str, NodeGroup], patterns: Sequence[str] | None = None
    ) -> Nodes:
        """The same over the engine's groups, or those of its own, that the patterns name.

        Without patterns groups that have nothing on the side that is scored are left out.

        Raises:
            SetupError: there is no group, or a named one has nothing to score.
            UnknownNameError: a pattern names none.
        """
        mine = {group.name: group for group in self.groups} or dict(groups)
        if not mine:
            raise SetupError(
                "Nodes() finds no node group: give the engine example_inputs= (needs "
                "torch-pruning) or nodes=[NodeGroup(...)]"
            )
        if patterns is None:
            chosen = [group for group in mine.values() if self._scores(group)]
            if not chosen:
                raise SetupError(f"{self!r}: no group has anything on the side {self.over.value!r}")
            return replace(self, groups=chosen)
        names: dict[str, None] = {}
        for pattern in patterns:
            hits = [name for name in mine if name == pattern or fnmatchcase(name, pattern)]
            if not hits:
                raise UnknownNameError(
                    f"{pattern!r} names no node group. {did_you_mean(pattern, mine)}"
                )
            names.update(dict.fromkeys(hits))
        bare = [name for name in names if not self._scores(mine[name])]
        if bare:
            raise SetupError(f"node group {bare[0]!r} has nothing on the side {self.over.value!r}")
        return replace(self, groups=[mine[name] for name in names])

    @property
    def scored(self) -> tuple[str, ...]:
        """Names of the parameters whose scores count."""
        found = (one.param for group in self.groups for one in group.slices(self.over))
        return tuple(dict.fromkeys(found))

    def pool(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Parameter scores -> group name -> (size,)."""
        return {group.name: self._reduced(group, scores) for group in self.groups}

    def divided(
        self, scores: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Scores of nodes by the mean |w| of the side `against`; 0 by 0 is 0, and else infinite."""
        if self.against is None:
            return dict(scores)
        sizes = replace(self, reduce=Mean(), over=self.against, against=None)
        needed = {name: weights[name].detach().abs() for name in sizes.scored}
        found = sizes.pool(needed)
        return {n: torch.where(s == 0, 0.0, s / found[n].to(s)) for n, s in scores.items()}

    def _scores(self, group: NodeGroup) -> bool:
        """Whether the group has weights on the sides that are read."""
        return all(group.slices(side) for side in (self.over, self.against) if side is not None)

    def spread(
        self, chosen: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]
    ) -> dict[str, Tensor]:
        """Chosen nodes -> every entry that belongs to one."""
        masks: dict[str, Tensor] = {}
        for group in self.groups:
            if group.name in chosen:
                for name, mask in spread(group.slices(), chosen[group.name], shapes).items():
                    masks[name] = mask if name not in masks else masks[name] | mask
        return masks

    def all_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for nodes whose every entry (of the parameters given) is True."""
        return {g.name: ~self._any(g, {n: ~m for n, m in masks.items()}) for g in self._in(masks)}

    def any_of(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """True for nodes with an entry that is True."""
        return {g.name: self._any(g, masks) for g in self._in(masks)}

    def _in(self, masks: Mapping[str, Tensor]) -> list[NodeGroup]:
        return [group for group in self.groups if any(p in masks for p in group.params)]

    def _any(self, group: NodeGroup, masks: Mapping[str, Tensor]) -> Tensor:
        own = [one for one in group.slices() if one.param in masks]
        lines = gathered(own, [masks[one.param] for one in own], group.size)
        return torch.stack([line.any() for line in lines])

    def _reduced(self, group: NodeGroup, scores: Mapping[str, Tensor]) -> Tensor:
        own = group.slices(self.over)
        lines = gathered(own, [scores[one.param] for one in own], group.size)
        if isinstance(lines, Tensor):
            return self.reduce(lines, (1,))
        return torch.stack([self.reduce(line, (0,)) for line in lines])
