"""Values by name: what a weight is worth when it wakes or is reset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.actions.initialise import check_initialiser, fresh_values
from sleepengine.actions.live import Live
from sleepengine.errors import SetupError, did_you_mean
from sleepengine.masks import bits


def write_entries_(target: Tensor, source: Tensor, where: Tensor) -> None:
    """Set the entries of `target` at `where` (packed bits) to those of `source`, bit for bit."""
    source = source.to(device=target.device, dtype=target.dtype)
    target.copy_(torch.where(bits.unpack(where, target.shape), source, target))


class ValuePolicy(ABC):
    """Gives the chosen entries of one parameter a value."""

    @abstractmethod
    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Write the value of every entry at `where` (packed bits) in place."""

    def check(self, live: Live, names: Iterable[str]) -> None:
        """Raise SetupError if `write` could not do it, before anything is changed."""
        if self.kept_point is not None:
            for name in names:
                live.kept[self.kept_point].weight(name)

    @property
    def kept_point(self) -> str | None:
        """The kept point that is read, if any."""
        return None


@dataclass(frozen=True)
class Parked(ValuePolicy):
    """The value that the weight had when it fell asleep, bit for bit."""

    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Write the parked values; entries that were never parked stay as they are."""
        live.parked[name].fill_into(live.params[name], where)


@dataclass(frozen=True)
class Zero(ValuePolicy):
    """Zero: +0.0."""

    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Write +0.0."""
        parameter = live.params[name]
        parameter.masked_fill_(bits.unpack(where, parameter.shape), 0)


@dataclass(frozen=True)
class Fresh(ValuePolicy):
    """A new draw by the layer's own initialiser (`reset_parameters`), or by a given one."""

    def check(self, live: Live, names: Iterable[str]) -> None:
        """Every layer has an initialiser."""
        problems = [p for name in names if (p := check_initialiser(live, name)) is not None]
        if problems:
            raise SetupError("; ".join(problems))

    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Draw the whole tensor under a seed of its own and copy the chosen entries."""
        write_entries_(live.params[name], fresh_values(live, name), where)


@dataclass(frozen=True)
class Kept(ValuePolicy):
    """The value at a kept point, such as `Kept("500it")`."""

    at: str

    def __post_init__(self) -> None:
        """Check the tag."""
        if not isinstance(self.at, str) or not self.at:
            raise SetupError(f"Kept(at={self.at!r}): give a kept point, such as '500it' or 'init'")

    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Copy the kept values of the chosen entries."""
        write_entries_(live.params[name], live.kept[self.at].weight(name), where)

    @property
    def kept_point(self) -> str:
        """The tag."""
        return self.at


@dataclass(frozen=True)
class Original(ValuePolicy):
    """The value at the first attach."""

    def write(self, live: Live, name: str, where: Tensor) -> None:
        """Copy the original values of the chosen entries."""
        write_entries_(live.params[name], live.kept["init"].weight(name), where)

    @property
    def kept_point(self) -> str:
        """Always "init"."""
        return "init"


VALUES: Mapping[str, ValuePolicy] = {
    "parked": Parked(),
    "zero": Zero(),
    "original": Original(),
    "fresh": Fresh(),
}


def value_policy(value: str | ValuePolicy) -> ValuePolicy:
    """A policy from its word ("parked", "zero", "original", "fresh") or from a policy.

    Raises:
        SetupError: for any other word, with the closest valid one.

    >>> value_policy("zero"), value_policy(Kept("500it"))
    (Zero(), Kept(at='500it'))
    """
    if isinstance(value, ValuePolicy):
        return value
    if not isinstance(value, str):
        raise SetupError(f"value={value!r}: give one of {sorted(VALUES)} or Kept('500it')")
    if value not in VALUES:
        raise SetupError(
            f"value={value!r} is not known. {did_you_mean(value, VALUES)} "
            "A kept point is written Kept('500it')."
        )
    return VALUES[value]
