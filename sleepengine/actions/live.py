"""What an action may write: the live tensors and the things that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sleepengine.distributed import Ranks
from sleepengine.enforcement.held_buffers import HeldBuffers
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.masks import bits
from sleepengine.masks.parking import Parking
from sleepengine.masks.store import MaskStore
from sleepengine.nodes.node_masks import NodeMasks

if TYPE_CHECKING:
    from sleepengine.actions.kept_points import KeptPoints

Initialiser = Callable[[Tensor], Any]
"""Writes a fresh draw into the tensor it is given, in place (as `torch.nn.init` functions do)."""


@runtime_checkable
class Stateful(Protocol):
    """Anything that can be rewound: an LR scheduler, a sampler."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to come back here."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Come back there."""
        ...


@dataclass
class Live:
    """The live model, its optimizers, and what is kept beside them; actions write nothing else."""

    model: nn.Module
    params: dict[str, nn.Parameter]
    store: MaskStore
    parked: Parking
    state: OptimizerState
    kept: KeptPoints
    held: HeldBuffers
    nodes: NodeMasks = field(default_factory=NodeMasks)
    optimizers: Sequence[Optimizer] = ()
    schedulers: Sequence[Stateful] = ()
    samplers: Sequence[Stateful] = ()
    scaler: torch.amp.GradScaler | None = None
    initialisers: Mapping[str, Initialiser] = field(default_factory=dict)
    ranks: Ranks = field(default_factory=Ranks)
    seed: int = 0
    event: int = 0  # counts transactions, so that every fresh draw differs and can be repeated
    rewound: str | None = None  # the kept point whose schedule holds when the next step begins

    def rest(self) -> None:
        """Park and fill the optimizer state of exactly those entries that may not train now."""
        trainable = {name: self.store.trainable_bits(name) for name in self.store.entries()}
        self.state.adopt(
            {n: bits.bit_not(t, self.store.numel(n)) for n, t in trainable.items() if t is not None}
        )

    whole: Callable[[], AbstractContextManager[None]] = nullcontext  # tensors are full in there
    # After a step: must the next backward be full?
    planned: Callable[[bool], None] = lambda _: None

    # A gradient in place of another: the same one at another size.
    gradient_moved: Callable[[Tensor, Tensor], None] = lambda _old, _new: None

    def buffers(self) -> dict[str, Tensor]:
        """The model's buffers by canonical name (running statistics and the like)."""
        from sleepengine.names import canonical

        return {canonical(name): buffer for name, buffer in self.model.named_buffers()}
