"""The direct calls of an engine: positions sleep, wake, freeze and thaw now, without any rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sleepengine.actions.action import Action
from sleepengine.actions.freeze import Freeze, Thaw
from sleepengine.actions.live import Live
from sleepengine.actions.sleep import Sleep
from sleepengine.actions.values import ValuePolicy
from sleepengine.actions.wake import Wake
from sleepengine.calls.repairs import repair
from sleepengine.calls.states import SleepState, choice_at, fraction, is_sleeping, sleep_state
from sleepengine.enforcement.hooks import Enforcer
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.errors import SetupError
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore
from sleepengine.names import matching, named_parameters, parameter_of
from sleepengine.parametrized import check_not_behind


class DirectCalls(ABC):
    """What can be asked of, and done to, chosen positions at any time.

    `layer` is a layer's name (its `weight` is meant) or a parameter's full name. `where` is one
    position `(i, j)`, a list of positions, a slice or a tuple of slices and ints, a bool mask
    (tensor or array), a SciPy sparse matrix (non-zero = chosen), or `...` for all of it.

    Raises (every call, before anything changes):
        UnknownNameError: no such layer or parameter; the closest names are given.
        SetupError: the positions do not fit the shape, or a weight is computed from what shall
            sleep (parametrizations).
    """

    model: nn.Module
    scope: tuple[str, ...]
    live: Live
    enforcer: Enforcer

    @property
    @abstractmethod
    def store(self) -> MaskStore:
        """The masks."""

    @abstractmethod
    def parameter(self, name: str) -> nn.Parameter:
        """The live parameter of that name."""

    @abstractmethod
    def act(self, action: Action, choice: Choice) -> Changes:
        """Do one action to chosen weights now."""

    def _now(self, action: Action, where: Mapping[str, Any]) -> Changes:
        return self.act(action, choice_at(self.model, self.store, where))

    def sleep_weights(self, layer: str, where: Any = ...) -> int:
        """Put positions of a layer's weight (or of a parameter by its full name) to sleep."""
        choice = choice_at(self.model, self.store, {layer: where})
        check_not_behind(self.model, choice)
        return self.act(Sleep(include_frozen=True), choice).slept.count()

    def wake_weights(
        self,
        layer: str,
        where: Any = ...,
        value: str | ValuePolicy = "parked",
        state: str | StatePolicy = "keep",
    ) -> int:
        """Wake positions with a value policy and an optimizer-state policy."""
        return self._now(Wake(value, state), {layer: where}).woke.count()

    def freeze_weights(self, layer: str, where: Any = ...) -> int:
        """Freeze positions."""
        return self._now(Freeze(), {layer: where}).frozen.count()

    def thaw_weights(self, layer: str, where: Any = ...) -> int:
        """Thaw positions."""
        return self._now(Thaw(), {layer: where}).thawed.count()

    def adopt_zeros(self, params: str | Sequence[str] | None = None) -> int:
        """Put every weight that is exactly zero to sleep, so that fine-tuning keeps it zero."""
        names = self.scope if params is None else matching(self.model, params)
        check_not_behind(self.model, names)
        zeros = {name: self.parameter(name).detach() == 0 for name in names}
        return self._now(Sleep(include_frozen=True), zeros).slept.count()

    def repair(self) -> dict[str, int]:
        """Put right what was written over the masks; name -> how many entries were off.

        After `model.load_state_dict(...)`, an average swapped in, or any write of your own while
        the engine is attached: sleepers are +0.0 and frozen weights as they were at once, not only
        when the next step begins. Running statistics of sleeping and frozen nodes go back too.
        Parked values are not touched. Frozen values are known only while the engine is attached.
        """
        return repair(self.live, self.enforcer)

    def apply_to(self, model: nn.Module) -> int:
        """Zero the sleeping positions of another model with the same names, such as an average.

        The average of weights that fell asleep is not zero for a long time. Returns how many
        weights were zeroed.

        Raises:
            SetupError: a parameter is missing there, or has another shape.
        """
        others = named_parameters(model)
        for name in self.store.entries():
            if name not in others or others[name].shape != self.store.shape(name):
                raise SetupError(f"apply_to: the model has no {name!r} of the same shape")
        count = 0
        for name in self.store.entries():
            asleep = self.store.asleep_bits(name)
            if asleep is not None:
                with torch.no_grad():
                    mask = bits.unpack(asleep, self.store.shape(name)).to(others[name].device)
                    count += int(others[name][mask].count_nonzero())
                    others[name].masked_fill_(mask, 0)
        return count

    def is_sleeping(self, layer: str, where: Any = ...) -> Tensor:
        """Bool tensor: which of these positions sleep."""
        return is_sleeping(self.model, self.store, layer, where)

    def get_sleep_state(self, layer: str) -> SleepState:
        """The masks of one layer, with counts."""
        return sleep_state(self.model, self.store, layer)

    def get_sleep_configuration(self) -> dict[str, SleepState]:
        """The masks of every parameter that has any asleep or frozen."""
        store = self.store
        return {name: sleep_state(self.model, store, name) for name in store.entries()}

    def fraction(self) -> float:
        """Share of the weights in scope that sleep."""
        return fraction(self.store, self.scope)

    def __getitem__(self, layer: str) -> LayerView:
        """A view of one layer with the direct calls."""
        parameter_of(self.model, layer)
        return LayerView(self, layer)


@dataclass(frozen=True)
class LayerView:
    """One layer of the engine: `engine["fc1"].sleep_weights((0, 3))`."""

    engine: DirectCalls
    layer: str

    def sleep_weights(self, where: Any = ...) -> int:
        """Put these positions to sleep; how many fell asleep."""
        return self.engine.sleep_weights(self.layer, where)

    def wake_weights(self, where: Any = ..., value: Any = "parked", state: Any = "keep") -> int:
        """Wake these positions; how many woke."""
        return self.engine.wake_weights(self.layer, where, value=value, state=state)

    def freeze_weights(self, where: Any = ...) -> int:
        """Freeze these positions; how many froze."""
        return self.engine.freeze_weights(self.layer, where)

    def thaw_weights(self, where: Any = ...) -> int:
        """Thaw these positions; how many thawed."""
        return self.engine.thaw_weights(self.layer, where)

    def is_sleeping(self, where: Any = ...) -> Tensor:
        """True where asleep, for these positions."""
        return self.engine.is_sleeping(self.layer, where)

    def get_sleep_state(self) -> SleepState:
        """The masks of this layer."""
        return self.engine.get_sleep_state(self.layer)
