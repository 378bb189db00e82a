"""What attach() does to what was loaded before it; until the first step a later load asks."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from sleepengine.actions.live import Live


class Beginning:
    """Whether values and optimizer state that attach cleared were loaded after it.

    Masks that are in force at attach, and rules that act at once, clear weights and momentum. That
    is no loss where model and optimizer are loaded later. Where they were loaded before, it is,
    once the masks of another run follow.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        self._cleared: dict[str, int] = {}  # parameter -> its version when it was cleared last
        self._before: dict[str, int] = {}
        self._stated: set[int] = set()  # optimizers with state that was not loaded since
        self._handles: list[RemovableHandle] = []

    def start(self) -> None:
        """Attach: optimizers may have state already; what they load from now on is seen."""
        self.over()
        optimizers = self._live.optimizers
        self._stated = {id(one) for one in optimizers if one.state}
        self._handles = [one.register_load_state_dict_post_hook(self._loaded) for one in optimizers]

    def cleared(self, names: Iterable[str]) -> None:
        """The masks cleared values of these just now."""
        for name in names:
            self._cleared[name] = self._live.params[name]._version

    def rules_act(self) -> None:
        """From here to `rules_acted` every write is one of rules."""
        self._before = {name: p._version for name, p in self._live.params.items()}

    def rules_acted(self) -> None:
        """The rules that were due at once are done."""
        params = self._live.params
        self.cleared(n for n, version in self._before.items() if params[n]._version != version)

    def over(self) -> None:
        """A step was taken, or the engine is detached: nothing can be mistaken any more."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._cleared, self._stated = [], {}, set()

    def lost(self, masked: Collection[str]) -> list[str]:
        """Parameters of which something may be lost, if `masked` train in the masks to come."""
        params = self._live.params
        values = {n for n, version in self._cleared.items() if params[n]._version == version}
        return sorted(values | set(masked) | set(self._cleared)) if self._stated else sorted(values)

    def _loaded(self, optimizer: Optimizer) -> None:
        self._stated.discard(id(optimizer))
