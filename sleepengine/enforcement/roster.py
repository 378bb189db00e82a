"""Which optimizer steps which named parameter, looked up anew when groups change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from torch.nn import Parameter
from torch.optim import Optimizer

from sleepengine.errors import UnknownNameError, did_you_mean


@final
class Member(NamedTuple):
    """One named parameter of one optimizer; `group` is an index, since loading replaces groups."""

    name: str
    param: Parameter
    group: int


@final
class Roster:
    """Named parameters and the optimizers that step them.

    Args:
        params: name -> parameter; a tied parameter has one name.
        optimizers: in the order in which their state is saved.

    >>> import torch
    >>> w = Parameter(torch.zeros(2))
    >>> roster = Roster({"w": w}, [torch.optim.SGD([w], lr=0.1)])
    >>> roster.members(0)[0].name, roster.owners("w"), roster.without_optimizer()
    ('w', (0,), ())
    """

    def __init__(self, params: Mapping[str, Parameter], optimizers: Sequence[Optimizer]) -> None:
        self.params = dict(params)
        self.optimizers = tuple(optimizers)
        self._names = {id(param): name for name, param in self.params.items()}
        self._index = {id(optimizer): k for k, optimizer in enumerate(self.optimizers)}
        self._members: list[tuple[Member, ...]] = [() for _ in self.optimizers]
        self._sizes: list[list[int]] = [[] for _ in self.optimizers]
        self._places: dict[str, list[tuple[int, Member]]] | None = None

    def param(self, name: str) -> Parameter:
        """The parameter of that name.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self.params:
            raise UnknownNameError(
                f"no parameter is called {name!r}. {did_you_mean(name, self.params)}"
            )
        return self.params[name]

    def index(self, optimizer: Optimizer) -> int:
        """Place of the optimizer in the list.

        Raises:
            UnknownNameError: it is not in the list.
        """
        if id(optimizer) not in self._index:
            raise UnknownNameError(
                f"{type(optimizer).__name__} is not one of the {len(self.optimizers)} "
                "optimizers given to the engine"
            )
        return self._index[id(optimizer)]

    def members(self, index: int) -> tuple[Member, ...]:
        """Named parameters of one optimizer, in its order."""
        groups = self.optimizers[index].param_groups
        sizes = [len(group["params"]) for group in groups]
        if sizes != self._sizes[index]:
            self._sizes[index], self._places = sizes, None
            self._members[index] = tuple(
                Member(self._names[id(param)], param, k)
                for k, group in enumerate(groups)
                for param in group["params"]
                if id(param) in self._names
            )
        return self._members[index]

    def group(self, index: int, member: Member) -> dict[str, Any]:
        """The param group of a member as it is now."""
        return self.optimizers[index].param_groups[member.group]

    def places(self, name: str) -> list[tuple[int, Member]]:
        """Where the parameter is stepped: place of the optimizer, and the member there."""
        every = [self.members(k) for k in range(len(self.optimizers))]
        if self._places is None:
            self._places = {}
            for k, members in enumerate(every):
                for member in members:
                    self._places.setdefault(member.name, []).append((k, member))
        return self._places.get(name, [])

    def owners(self, name: str) -> tuple[int, ...]:
        """Places of the optimizers that step the parameter."""
        return tuple(dict.fromkeys(k for k, _ in self.places(name)))

    def without_optimizer(self) -> tuple[str, ...]:
        """Names of trainable parameters that no optimizer steps."""
        stepped = {m.name for k in range(len(self.optimizers)) for m in self.members(k)}
        return tuple(n for n, p in self.params.items() if p.requires_grad and n not in stepped)
