"""A small engine for tests: masks, values, optimizer state and hooks, without rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.enforcement.policies import ParkState, StatePolicy
from sleepengine.enforcement.roster import Roster
from sleepengine.masks.bits import pack
from sleepengine.masks.choice import Choice
from sleepengine.masks.parking import Parking
from sleepengine.masks.store import MaskStore


@dataclass
class Rig:
    params: Mapping[str, Parameter]
    optimizers: Sequence[Optimizer]
    keeps: ParkState = ParkState.SECOND
    lean: bool = False
    store: MaskStore = field(init=False)
    state: OptimizerState = field(init=False)
    enforcer: Enforcer = field(init=False)

    def __post_init__(self) -> None:
        self.store = MaskStore({name: p.shape for name, p in self.params.items()})
        self.state = OptimizerState(
            Roster(self.params, self.optimizers), self.keeps, dense=not self.lean
        )
        self.enforcer = Enforcer(self.store, self.state, lean=self.lean)
        self.values = Parking(self.params)
        self.enforcer.attach()

    def sleep(self, name: str, mask: Tensor) -> None:
        changed = self.store.sleep(Choice({name: mask}))
        if name in changed:
            self.values[name].park_and_clear_(self.params[name], changed.bits(name))
            self.state.park(name, changed.bits(name))
        self._settle(name)

    def wake(self, name: str, mask: Tensor, policy: StatePolicy = StatePolicy.KEEP) -> None:
        changed = self.store.wake(Choice({name: mask}))
        if name in changed:
            self.values[name].restore_(self.params[name], changed.bits(name))
        self._release(name, policy)

    def freeze(self, name: str, mask: Tensor) -> None:
        changed = self.store.freeze(Choice({name: mask}))
        if name in changed:
            self.state.park(name, changed.bits(name))
        self._settle(name)

    def thaw(self, name: str, mask: Tensor, policy: StatePolicy = StatePolicy.KEEP) -> None:
        self.store.thaw(Choice({name: mask}))
        self._release(name, policy)

    def _release(self, name: str, policy: StatePolicy) -> None:
        trainable = self.store.trainable(name)
        active = torch.ones_like(self.params[name], dtype=torch.bool)
        self.state.release(name, pack(active if trainable is None else trainable), policy)
        self._settle(name)

    def _settle(self, name: str) -> None:
        self.enforcer.sync([name])
        self.enforcer.mask_pending_gradients([name])


@pytest.fixture
def rig() -> Callable[..., Rig]:
    return Rig


@pytest.fixture
def words() -> Callable[[Tensor], Tensor]:
    """The bit pattern of a tensor, so that -0.0 and NaN payloads count."""

    def view(tensor: Tensor) -> Tensor:
        integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        return (
            tensor.detach()
            .clone(memory_format=torch.contiguous_format)
            .view(integer[tensor.element_size()])
        )

    return view
