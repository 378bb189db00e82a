"""Which units compete with each other: all, those of a tensor, those of a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import final

import torch
from torch import Tensor

from sleepengine.choosing.amount import Amount, Tally
from sleepengine.choosing.amounts import Below, Rate
from sleepengine.choosing.budgets import Budget
from sleepengine.choosing.field import Field, Taken, check_reach
from sleepengine.choosing.ladder import Alike, InOrder, Ladder
from sleepengine.choosing.rows import lowest_of_rows
from sleepengine.choosing.shares import Asked, Carry, Shares, Uniform
from sleepengine.choosing.units import Columns, Rows, Units
from sleepengine.errors import SetupError


class Pools(ABC):
    """Splits the units of a rule into pools and takes each pool's quota."""

    @abstractmethod
    def check(
        self, units: Units | None, amount: Amount | None, highest: bool | None = None
    ) -> None:
        """Raise SetupError for a pair that cannot work, when the rule is built.

        Args:
            units: what is chosen; None when not known here.
            amount: how much, None for pools that say so themselves.
            highest: whether the highest scores are chosen (Wake); None when not known here.
        """

    @abstractmethod
    def pick(self, field: Field, amount: Amount | None, carry: Carry) -> tuple[Taken, Carry]:
        """Choose; amounts hold numbers, and `carry` is what `rate` left over last time."""

    def ladder(self, field: Field) -> Ladder:
        """The choices from nothing to everything, for a budget.

        Raises:
            SetupError: a budget has no meaning in these pools.
        """
        raise SetupError(f"{self!r} takes no budget of parameters or FLOPs: use Global().")


@final
@dataclass(frozen=True)
class Global(Pools):
    """All units of all tensors compete; the count is rounded once."""

    def check(
        self, units: Units | None, amount: Amount | None, highest: bool | None = None
    ) -> None:
        """Any amount fits, a budget nodes alone; any units do."""
        needs_amount(self, amount, highest)
        _check_budget(units, amount)

    def pick(self, field: Field, amount: Amount | None, carry: Carry) -> tuple[Taken, Carry]:
        """One quota from all tensors together."""
        tallies = {n: field.tally(n) for n in field.scores}
        if not tallies:
            return Taken({}, None), carry
        quota, left = needs_amount(self, amount, field.highest).quota(
            reduce(add, tallies.values()), highest=field.highest, carry=_one(self, carry)
        )
        return field.take(tallies, quota), left

    def ladder(self, field: Field) -> Ladder:
        """All units in one order."""
        return InOrder(field)


@final
@dataclass(frozen=True)
class PerTensor(Pools):
    """The units of one tensor compete; `shares` says how much is asked of each."""

    shares: Shares = field(default_factory=Uniform)

    def check(
        self, units: Units | None, amount: Amount | None, highest: bool | None = None
    ) -> None:
        """The shares decide which amounts fit; a budget is for equal shares of nodes."""
        _check_budget(units, amount)
        if isinstance(amount, Budget):
            if not isinstance(self.shares, Uniform):
                raise SetupError(f"{amount!r} finds the share of each tensor itself: PerTensor().")
            return
        self.shares.check(needs_amount(self, amount, highest), highest)

    def pick(self, field: Field, amount: Amount | None, carry: Carry) -> tuple[Taken, Carry]:
        """A quota from each tensor."""
        tallies = {n: field.tally(n) for n in field.scores}
        counts, left = self.shares.quotas(
            Asked(
                needs_amount(self, amount, field.highest),
                tallies,
                field.shapes,
                field.highest,
                carry,
                field.mean_awake,
            )
        )
        return _join(field, [field.take({n: tallies[n]}, counts[n]) for n in tallies]), left

    def ladder(self, field: Field) -> Ladder:
        """The same share of every tensor."""
        return Alike(field)


@final
@dataclass(frozen=True)
class PerRow(Pools):
    """The units of one output row compete (dimension 0), each row with the same amount.

    Source: the comparison groups of Wanda (Sun et al., 2024).
    """

    def check(
        self, units: Units | None, amount: Amount | None, highest: bool | None = None
    ) -> None:
        """No rate, and no units that span rows."""
        needs_amount(self, amount, highest)
        if isinstance(amount, Budget):
            raise SetupError(f"{self!r} takes no budget of {amount.unit}: use Global().")
        if isinstance(amount, Rate):
            raise SetupError(
                f"{amount!r} keeps a remainder for every pool, and PerRow() has one pool per row: "
                "use Global() or PerTensor()."
            )
        if isinstance(units, (Rows, Columns)):
            raise SetupError(f"PerRow() has nothing to compare in a row of {units!r}: use Weights.")

    def pick(self, field: Field, amount: Amount | None, carry: Carry) -> tuple[Taken, Carry]:
        """A quota from each row."""
        asked = needs_amount(self, amount, field.highest)
        return _join(field, [self._of_tensor(field, n, asked) for n in field.scores]), 0.0

    def _of_tensor(self, field: Field, name: str, amount: Amount) -> Taken:
        scores = field.scores[name]
        if scores.dim() < 2:
            raise SetupError(
                f"PerRow() needs 2 or more dimensions: {name!r} has scores of shape "
                f"{tuple(scores.shape)}."
            )
        rows, size = scores.shape[0], scores[:1].numel()
        able, asleep = (
            m.reshape(rows, size) if m is not None else None
            for m in (field.eligible.get(name), field.asleep.get(name))
        )
        counts = torch.tensor(
            [
                amount.quota(t, highest=field.highest, carry=0.0)[0]
                for t in _row_tallies(name, able, asleep, rows, size, amount, field.highest)
            ],
            dtype=torch.long,
        )
        mask, edge = lowest_of_rows(scores.reshape(rows, size), able, counts, highest=field.highest)
        taken = Taken({name: mask.view(scores.shape)}, edge)
        field.check_floor({name: field.tally(name)}, taken.masks)
        return taken


def needs_amount(pools: Pools, amount: Amount | None, highest: bool | None) -> Amount:
    """The amount; raises SetupError where there is none, or one that cannot wake."""
    if amount is None:
        raise SetupError(f"{pools!r} needs an amount: to, by, count, rate or below.")
    if highest and isinstance(amount, Below):
        raise SetupError(
            f"{amount!r} picks low scores, and a wake picks the highest: use to or by."
        )
    return amount


def _check_budget(units: Units | None, amount: Amount | None) -> None:
    if isinstance(amount, Budget) and units is not None and not units.priced:
        raise SetupError(
            f"{amount!r} is for nodes, whose tensors can be made smaller: use Nodes() in place of "
            f"{units!r}, or to()."
        )


def _one(pools: Pools, carry: Carry) -> float:
    if isinstance(carry, Mapping):
        raise SetupError(f"{pools!r} is one pool with one remainder: carry is a number.")
    return carry


def _join(field: Field, parts: list[Taken]) -> Taken:
    masks = {n: m for part in parts for n, m in part.masks.items()}
    edges = [part.edge for part in parts if part.edge is not None]
    if not edges:
        return Taken(masks, None)
    return Taken(masks, min(edges) if field.highest else max(edges))


def _row_tallies(
    name: str,
    able: Tensor | None,
    asleep: Tensor | None,
    rows: int,
    size: int,
    amount: Amount,
    highest: bool,
) -> list[Tally]:
    """The tally of every row; raises when a row cannot meet its quota."""
    eligible = [size] * rows if able is None else able.sum(1).tolist()
    sleeping = [0] * rows if asleep is None else asleep.sum(1).tolist()
    tallies = [Tally(size, e, a) for e, a in zip(eligible, sleeping, strict=True)]
    for row, tally in enumerate(tallies):
        check_reach({f"{name}[{row}]": tally}, amount.quota(tally, highest=highest, carry=0.0)[0])
    return tallies
