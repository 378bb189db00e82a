"""Direct calls: sleep, wake, freeze and thaw chosen positions without any rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sleepengine.errors import SetupError
from sleepengine.masks.choice import Choice
from sleepengine.masks.positions import to_mask
from sleepengine.masks.store import MaskStore
from sleepengine.names import parameter_of
from sleepengine.parametrized import check_not_behind

if TYPE_CHECKING:
    pass


def choice_at(model: nn.Module, store: MaskStore, where: Mapping[str, Any]) -> Choice:
    """The chosen positions by layer or parameter name.

    A value is one position `(i, j)`, a list of positions, a slice or a tuple of slices and ints, a
    bool mask (tensor or array), a SciPy sparse matrix (non-zero = chosen), or `...` for all.

    Raises:
        UnknownNameError: no such layer or parameter.
        SetupError: the positions do not fit the shape.
    """
    masks: dict[str, Tensor] = {}
    for layer, positions in where.items():
        name = parameter_of(model, layer)
        masks[name] = _mask(positions, store.shape(name))
    return Choice(masks)


def _mask(positions: Any, shape: torch.Size) -> Tensor:
    if positions is Ellipsis:
        return torch.ones(shape, dtype=torch.bool)
    return to_mask(positions, shape)


def as_store(
    model: nn.Module, like: MaskStore, masks: MaskStore | Mapping[str, Tensor]
) -> MaskStore:
    """A store with these masks: a store as it is, or name -> bool tensor (True = awake).

    A layer's name means its `weight`. Names that are missing from a mapping stay as they are.

    Raises:
        UnknownNameError: no such layer or parameter.
        SetupError: no bool tensor, another shape, two masks for one parameter, or a parameter
            from which a weight is computed.
    """
    if isinstance(masks, MaskStore):
        return masks
    result, given = like.fork(), dict[str, str]()
    for layer, awake in masks.items():
        name = parameter_of(model, layer)
        if name in given:
            raise SetupError(f"masks: {given[name]!r} and {layer!r} are both masks of {name}")
        given[name] = layer
        if not isinstance(awake, Tensor) or awake.dtype != torch.bool:
            raise SetupError(f"masks[{layer!r}]: give a bool tensor, True = awake")
        if awake.shape != like.shape(name):
            raise SetupError(
                f"masks[{layer!r}] has shape {tuple(awake.shape)}, {name} {tuple(like.shape(name))}"
            )
        if not bool(awake.all()):
            check_not_behind(model, [name])
        result.wake(Choice({name: awake}))
        result.sleep(Choice({name: ~awake}))
    return result


@dataclass(frozen=True, repr=False)
class NodeState:
    """How the nodes of one group stand: bool tensors (size,)."""

    group: str
    awake: Tensor
    frozen: Tensor

    def __repr__(self) -> str:
        """Counts instead of masks."""
        asleep, size = int((~self.awake).sum()), self.awake.numel()
        return f"NodeState({self.group}: {asleep}/{size} asleep, {int(self.frozen.sum())} frozen)"


@dataclass(frozen=True)
class SleepState:
    """How one parameter stands: bool tensors, and how many sleep and are frozen."""

    name: str
    awake: Tensor
    frozen: Tensor
    nodes: NodeState | None = None

    @property
    def asleep(self) -> int:
        """Weights asleep."""
        return int((~self.awake).sum())

    @property
    def fraction(self) -> float:
        """Share asleep."""
        return self.asleep / self.awake.numel() if self.awake.numel() else 0.0

    def __repr__(self) -> str:
        """Counts instead of masks."""
        return (
            f"SleepState({self.name}: {self.asleep}/{self.awake.numel()} asleep, "
            f"{int(self.frozen.sum())} frozen)"
        )


def sleep_state(model: nn.Module, store: MaskStore, layer: str) -> SleepState:
    """The masks of one layer's weight, or of a parameter by its full name."""
    name = parameter_of(model, layer)
    awake, frozen, shape = store.awake(name), store.frozen(name), store.shape(name)
    return SleepState(
        name,
        torch.ones(shape, dtype=torch.bool) if awake is None else awake,
        torch.zeros(shape, dtype=torch.bool) if frozen is None else frozen,
    )


def is_sleeping(model: nn.Module, store: MaskStore, layer: str, where: Any) -> Tensor:
    """Bool tensor: True where asleep. One position gives a 0-dim tensor, `...` the whole mask."""
    asleep = ~sleep_state(model, store, layer).awake
    if where is Ellipsis:
        return asleep
    if isinstance(where, tuple) and all(isinstance(i, int) for i in where):
        _mask(where, asleep.shape)  # raises a clear error for a position out of range
        return asleep[where]
    return asleep[_mask(where, asleep.shape).to(asleep.device)]


def fraction(store: MaskStore, names: Sequence[str]) -> float:
    """Asleep / all, over these parameters; 0.0 of nothing."""
    total = sum(store.numel(name) for name in names)
    return sum(store.asleep_count(name) for name in names) / total if total else 0.0
