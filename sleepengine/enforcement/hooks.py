"""Enforcement by hooks of gradients and optimizers, only where entries are inactive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, final

from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sleepengine.enforcement.closures import Closures, StepArguments
from sleepengine.enforcement.frozen_values import read_frozen
from sleepengine.enforcement.held_buffers import HeldBuffers
from sleepengine.enforcement.holding import HeldSteps
from sleepengine.enforcement.leaks import Leak, LeakLog
from sleepengine.enforcement.optimizer_state import OptimizerState
from sleepengine.enforcement.step_hooks import hook_steps
from sleepengine.enforcement.verdicts import needs_repair
from sleepengine.enforcement.watch_list import WatchList, keeps_values
from sleepengine.masks.store import MaskStore

Callback = Callable[[Optimizer], None]


@final
class Enforcer:
    """Sleeping entries stay +0.0, frozen ones keep their bits, whatever the optimizer does.

    Three hooks, each for a reason. After a gradient is accumulated it is masked, so that clipping
    and scaling see the awake network. Before a step it is masked again if somebody changed it, and
    values written by others (`load_state_dict`) are repaired. After a step values are repaired
    where the optimizer is not known to leave them alone, and fills of its state are renewed.

    Args:
        store: which entries are asleep and frozen.
        state: the optimizer state; it knows the parameters and optimizers.
        lean: keep no expanded masks and no dense buffers of frozen values.
        mask_every_step: mask before every step, for hooks that rewrite gradients unseen.
        buffers: entries of buffers that are put back around every step.
    """

    def __init__(
        self,
        store: MaskStore,
        state: OptimizerState,
        *,
        lean: bool = False,
        mask_every_step: bool = False,
        buffers: HeldBuffers | None = None,
    ) -> None:
        self._store = store
        self._state = state
        self._roster = state.roster
        self.lean = lean
        self._always = mask_every_step
        self._buffers = buffers
        self._watched = WatchList(store, state.roster, lean)
        self._held, self._closures, self._log = HeldSteps(), Closures(), LeakLog()
        self._handles: list[RemovableHandle] = []
        self._begins: Callback | None = None
        self._before: Callback | None = None
        self._after: Callback | None = None

    @property
    def is_attached(self) -> bool:
        """True between `attach` and `detach`."""
        return bool(self._handles)

    @property
    def watched(self) -> tuple[str, ...]:
        """Names of the parameters whose gradients pass through a hook now."""
        return self._watched.names

    @property
    def nbytes(self) -> int:
        """Bytes of expanded masks and kept frozen values."""
        return sum(watched.nbytes for watched in self._watched)

    def attach(
        self,
        before: Callback | None = None,
        after: Callback | None = None,
        begins: Callback | None = None,
    ) -> None:
        """Enforce from now on; each is called with the optimizer.

        Args:
            before: when gradients are masked; with a closure, after its first evaluation.
            after: after each step, when everything is repaired.
            begins: first of all in each step.
        """
        if self.is_attached:
            self.detach()
        self._before, self._after, self._begins = before, after, begins
        self._handles = hook_steps(self._roster.optimizers, self._before_step, self._after_step)
        self._state.attach()
        self._watched.register()
        self.sync()

    def detach(self) -> None:
        """Remove every hook and forget what was kept; values and masks stay as they are."""
        self._repair_buffers()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._watched.clear()
        self._before = self._after = self._begins = None

    def sync(self, names: Iterable[str] | None = None) -> None:
        """Follow the store after `names` (None = all) changed; freezing keeps values of now."""
        for name in self._store.names() if names is None else names:
            self._watched.sync(name)

    def accept(self, names: Iterable[str]) -> None:
        """Values of these parameters were written on purpose: frozen ones are captured anew."""
        self._watched.accept(names)

    def repair(self, names: Iterable[str] | None = None) -> None:
        """Write +0.0 over sleeping and kept values over frozen entries, now."""
        self._repair_buffers()
        for watched in self._watched.among(names):
            watched.repair(lean=self.lean)
            watched.look()

    def settle(self) -> None:
        """Repair what others wrote since our last look, as before a step."""
        self._watched.settle()
        self._repair_buffers()

    def turn_to(self, watched: WatchList) -> WatchList:
        """Enforce this list, for the shapes of now; what was written was meant; the one before."""
        before, self._watched = self._watched, watched
        self._store = watched.store
        before.pause()
        if self.is_attached:
            watched.register()
        watched.look()
        return before

    def mask_pending_gradients(self, names: Iterable[str] | None = None) -> None:
        """Mask gradients that wait for a step, after masks changed between backward and step."""
        for watched in self._watched.among(names):
            watched.mask_gradient(self._always)

    def arm(self, names: Iterable[str]) -> None:
        """Keep the dense gradients of the coming backward passes, as they were before masking.

        Raises:
            UnknownNameError: there is no such parameter.
        """
        self._watched.arm(names)

    def captured(self) -> dict[str, Tensor]:
        """Name -> dense gradient of all backward passes since `arm`, of armed parameters.

        It is what `.grad` would be without masks, before clipping; absent where there was none.
        """
        return self._watched.captured()

    def disarm(self) -> None:
        """Forget the dense gradients, and the hooks that only they needed."""
        self._watched.disarm()

    def unscale(self, factor: Tensor) -> None:
        """Multiply the dense gradients that backward passes left since `arm`, each once."""
        self._watched.unscale(factor)

    def hold_step(self, optimizer: Optimizer) -> None:
        """The next step of the optimizer changes nothing; gradients are there again after it.

        Raises:
            SetupError: the optimizer evaluates its closure inside the step (LBFGS).
        """
        self._held.hold(optimizer)

    def release_step(self, optimizer: Optimizer) -> None:
        """Take `hold_step` back."""
        self._held.release(optimizer)

    def leaks(self) -> list[Leak]:
        """Sleeping entries that are not +0.0 and frozen ones that moved, by parameter; one pass."""
        return self._watched.leaks()

    def leaks_again(self) -> list[Leak]:
        """What others write again and again between steps, and the steps put right."""
        return self._log.take()

    def state_dict(self) -> dict[str, Any]:
        """Values of frozen entries, so that masks and model may be loaded in either order."""
        return {"frozen_values": self._watched.frozen_values()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over frozen values and write them; the store is loaded, else StateError."""
        loaded = read_frozen(state, self._store, self._roster)
        self.sync()
        for name, parked in loaded.items():
            self._watched.watch(name).adopt_frozen(parked)
        self.repair()

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> StepArguments | None:
        if self._held.pending:
            self._held.recover(optimizer)
        if self._begins is not None:
            self._begins(optimizer)
        if self._watched:
            self._watched.repair_written(optimizer, self._log)
        self._repair_buffers()
        if len(args) == 1 and not kwargs:  # optimizer.step(): no closure
            return self._gradients_made(optimizer, args, kwargs)
        made = partial(self._gradients_made, optimizer)
        return self._closures.postponed(optimizer, args, kwargs, made) or made(args, kwargs)

    def _gradients_made(
        self, optimizer: Optimizer, args: tuple[Any, ...] = (), kwargs: Any = MappingProxyType({})
    ) -> StepArguments | None:
        for _, watched in self._watched.now(optimizer) if self._watched else ():
            watched.mask_gradient(self._always)
        if self._before is not None:
            self._before(optimizer)
        return self._held.before(optimizer, args, kwargs) if self._held.pending else None

    def _after_step(self, optimizer: Optimizer) -> None:
        self._closures.done(optimizer)
        held = self._held.pending and self._held.after(optimizer)
        if self._watched:
            if not held:
                self._repair_after(optimizer)
            self._look(optimizer)
        if self._after is not None:
            try:
                self._after(optimizer)
            finally:
                self._look(optimizer)

    def _look(self, optimizer: Optimizer) -> None:
        for _, watched in self._watched.now(optimizer):
            watched.value_version = watched.param._version

    def _repair_buffers(self) -> None:
        if self._buffers is not None and len(self._buffers):
            self._buffers.repair()

    def _repair_after(self, optimizer: Optimizer) -> None:
        created = self._state.after_step(optimizer)
        members = self._watched.now(optimizer)
        moves_zeros = [needs_repair(optimizer, group, False) for group in optimizer.param_groups]
        if not created and not any(moves_zeros) and not keeps_values(members):
            return
        for member, watched in members:
            # State that the step itself created was not filled yet, so 0 / 0 was possible.
            new = member.name in created
            asleep, group = moves_zeros[member.group], optimizer.param_groups[member.group]
            frozen = watched.frozen is not None and needs_repair(optimizer, group, True)
            if asleep or frozen or new:
                watched.repair(asleep=asleep or new, frozen=frozen or new, lean=self.lean)
