"""Which tensors are cut where, which sizes change with them, and which groups cannot take part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from sleepengine.actions.live import Live
from sleepengine.compaction.blocks import block_cut
from sleepengine.compaction.cuts import Cut, Lines
from sleepengine.compaction.refusals import computed, of_group
from sleepengine.compaction.sizes import RefusedError, new_sizes
from sleepengine.compaction.storage import Place, places
from sleepengine.masks.choice import Kind
from sleepengine.nodes.group import NodeGroup
from sleepengine.nodes.slices import Slice


@final
@dataclass(frozen=True)
class Size:
    """An attribute of a module that records a size."""

    module: nn.Module
    attribute: str
    value: int


@final
@dataclass
class Plan:
    """Cuts of parameters and buffers by name, sizes to write, and what is left out.

    `awake` is group name -> bool (size,), of the groups that get smaller.
    """

    awake: dict[str, Tensor] = field(default_factory=dict)
    params: dict[str, Cut] = field(default_factory=dict)
    buffers: dict[str, Cut] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    modules: tuple[nn.Module, ...] = ()

    def signature(self) -> tuple[tuple[str, int], ...]:
        """Everything that the shapes of the small model depend on."""
        return tuple(sorted((name, int(mask.sum())) for name, mask in self.awake.items()))


def plan(live: Live, only: Iterable[str] | None = None, left: Mapping[str, str] = {}) -> Plan:
    """The cuts of all groups with sleeping nodes (or of `only` these) that can be cut.

    Args:
        live: the model and what belongs to it.
        only: names of groups; None = all.
        left: groups that are known not to work, with the reason.
    """
    asleep = live.nodes.nodes(Kind.ASLEEP)
    wanted = [n for n in asleep if bool(asleep[n].any()) and (only is None or n in set(only))]
    found = Plan(left={name: reason for name, reason in left.items() if name in wanted})
    held, computes = places(live.model), computed(live.model)
    for name in wanted:
        if name not in found.left:
            reason = of_group(live, live.nodes.groups[name], asleep[name], held, computes)
            if reason is not None:
                found.left[name] = reason
    while True:
        chosen = {n: ~asleep[n] for n in wanted if n not in found.left}
        try:
            return _cut(live, chosen, held, found.left)
        except _Misfit as misfit:
            found.left.update(dict.fromkeys(misfit.groups, misfit.reason))


class _Misfit(Exception):  # noqa: N818
    """A layer cannot be cut as these groups would have it."""

    def __init__(self, groups: Iterable[str], reason: str) -> None:
        self.groups, self.reason = tuple(groups), reason


def _cut(
    live: Live,
    awake: Mapping[str, Tensor],
    held: Mapping[int, list[Place]],
    left: dict[str, str],
) -> Plan:
    made = Plan(awake=dict(awake), left=left)
    groups = [live.nodes.groups[name] for name in awake]
    lines: dict[str, list[tuple[NodeGroup, Slice]]] = {}
    stats: dict[str, list[tuple[NodeGroup, Slice]]] = {}
    for group in groups:
        for one in group.slices():
            lines.setdefault(one.param, []).append((group, one))
        for one in group.statistics:
            stats.setdefault(one.param, []).append((group, one))
    owners: dict[int, tuple[nn.Module, str, list[str]]] = {}
    small: dict[int, torch.Size] = {}
    blocks: dict[int, int] = {}
    for table, cuts, tensor_of in (
        (lines, made.params, live.params.__getitem__),
        (stats, made.buffers, live.held.buffer),
    ):
        for name, own in table.items():
            tensor = tensor_of(name)
            at, users = held[id(tensor)], [group.name for group, _ in own]
            for place in at:
                known = owners.setdefault(id(place.module), (place.module, place.path, []))
                known[2].extend(users)
            grouped = next((p.module for p in at if _blocks(p) > 1), None)
            try:
                if grouped is None:
                    cuts[name] = _lines(tensor.shape, own, awake)
                else:
                    block = block_cut(tensor.shape, _blocks(at[0]), own, awake)
                    cuts[name], blocks[id(grouped)] = block
            except RefusedError as error:
                raise _Misfit(users, f"{name}: {error}") from error
            small[id(tensor)] = cuts[name].small
    for module, path, users in owners.values():
        try:
            sizes = new_sizes(module, _shapes(module, small), blocks.get(id(module)))
        except RefusedError as error:
            raise _Misfit(users, f"{path or 'the model'}: {error}") from error
        made.sizes += [Size(module, key, value) for key, value in sizes.items()]
    made.sizes += _counts(live, groups, awake)
    made.modules = tuple(module for module, _, _ in owners.values())
    return made


def _lines(
    shape: torch.Size,
    own: Iterable[tuple[NodeGroup, Slice]],
    awake: Mapping[str, Tensor],
) -> Cut:
    kept: dict[int, Tensor] = {}
    for group, one in own:
        mask = kept.setdefault(one.dim, torch.ones(shape[one.dim], dtype=torch.bool))
        mask[gone(one, awake[group.name])] = False
    if not all(bool(mask.any()) for mask in kept.values()):
        raise RefusedError("nothing of it would remain")
    return Lines(shape, {d: mask.nonzero().flatten() for d, mask in kept.items()})


def gone(one: Slice, awake: Tensor) -> Tensor:
    """The indices along the dimension of a slice that sleeping nodes own."""
    owners, at = one.pairs(awake.numel())
    return at[~awake.cpu()[owners]]


def _blocks(place: Place) -> int:
    """Blocks of the weight of a grouped convolution; 1 for everything else."""
    if isinstance(place.module, nn.modules.conv._ConvNd) and place.attribute == "weight":
        return int(place.module.groups)
    return 1


def _shapes(module: nn.Module, small: Mapping[int, torch.Size]) -> dict[str, torch.Size]:
    tensors: dict[str, Any] = {**module._parameters, **module._buffers}
    return {
        key: small.get(id(tensor), tensor.shape)
        for key, tensor in tensors.items()
        if tensor is not None
    }


def _counts(live: Live, groups: Iterable[NodeGroup], awake: Mapping[str, Tensor]) -> Iterable[Size]:
    """Attributes of the user's modules that hold the number of nodes, or a multiple of it."""
    for group in groups:
        for path in group.counted_by:
            owner, _, attribute = path.rpartition(".")
            module = live.model.get_submodule(owner)
            value = getattr(module, attribute)
            each = value // group.size
            yield Size(module, attribute, each * int(awake[group.name].sum()))
