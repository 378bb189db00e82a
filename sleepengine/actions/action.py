"""The contract of an action: which weights it may touch, and what it does to the chosen ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Protocol

from torch import Tensor

from sleepengine.actions.live import Live
from sleepengine.actions.values import ValuePolicy
from sleepengine.enforcement.policies import StatePolicy
from sleepengine.masks.choice import Choice
from sleepengine.masks.planes import Changes
from sleepengine.masks.store import MaskStore


class Context(Protocol):
    """One transaction, as an action sees it. Masks change at once in `store`, tensors at commit.

    A choice on the layer of weights is keyed by parameter, one on the layer of nodes by node group;
    what a call returns is keyed by parameter in both cases.
    """

    store: MaskStore
    step: int

    def sleep(self, choice: Choice) -> Choice:
        """Put the chosen weights to sleep; what really changed."""
        ...

    def wake(
        self,
        choice: Choice,
        value: ValuePolicy,
        state: StatePolicy,
        outgoing: ValuePolicy | None = None,
    ) -> Choice:
        """Wake the chosen weights with a value and an optimizer-state policy; what changed.

        `outgoing` is the value policy of what reads chosen nodes; None = `value`.
        """
        ...

    def freeze(self, choice: Choice) -> Choice:
        """Freeze the chosen weights; what really changed."""
        ...

    def thaw(self, choice: Choice) -> Choice:
        """Thaw the chosen weights; what really changed."""
        ...

    def entries(self, nodes: Choice) -> Choice:
        """Everything that belongs to chosen nodes, keyed by parameter."""
        ...

    def become(self, masks: MaskStore, value: ValuePolicy, state: StatePolicy) -> Changes:
        """Make the masks equal to these; what wakes gets the given policies."""
        ...

    def require(self, check: Callable[[Live], None]) -> None:
        """Raise now what `check` raises, before anything is changed."""
        ...

    def afterwards(self, act: Callable[[Live], None]) -> None:
        """Write values once the masks of the whole transaction are in force."""
        ...


class Action(ABC):
    """What happens to the chosen weights. Final subclasses are frozen dataclasses."""

    event: ClassVar[str]
    """Name of the event that tells the user's handlers: "SLEPT", "WOKE", ..."""
    chooses: ClassVar[bool] = True
    """False for an action that takes the whole scope and no `who`."""
    highest: ClassVar[bool] = False
    """True when the highest scores are taken first (waking, thawing)."""
    empties: ClassVar[bool] = False
    """True when the action could leave a tensor without an awake weight."""

    @abstractmethod
    def eligible(self, store: MaskStore, name: str) -> Tensor | None:
        """Which weights may be chosen, as a bool tensor; None means all of them."""

    @abstractmethod
    def counted(self, store: MaskStore, name: str) -> Tensor | None:
        """Which weights an amount `to(f)` counts as asleep (or frozen) now; None means none."""

    @abstractmethod
    def apply(self, context: Context, choice: Choice) -> Choice:
        """Do it; returns what this action changed, before other rules of the transaction."""

    def check_nodes(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise SetupError if the action cannot act on nodes as it was built."""

    @property
    def compensates(self) -> bool:
        """Whether survivors are to make up for what the action does, by the scorer's update."""
        return False

    @property
    def transfers(self) -> bool:
        """Whether the readers of chosen nodes are to gain their mean contribution."""
        return False

    @property
    def kept_points(self) -> dict[str, frozenset[str]]:
        """Points in time whose values this action asks for: tag -> parts ("weights", ...)."""
        return {}

    def __str__(self) -> str:
        """The class name, as journals show it."""
        return type(self).__name__
