"""N of M: of every m consecutive inputs of an output n stay awake."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import final

import torch
from torch import Tensor

from sleepengine.choosing.amount import Amount
from sleepengine.choosing.field import Field, Taken
from sleepengine.choosing.groups import by_input, lowest_of_groups, some_of_groups
from sleepengine.choosing.pools import Pools
from sleepengine.choosing.shares import Carry
from sleepengine.choosing.units import Units, Weights
from sleepengine.errors import ScheduleError, SetupError


@final
@dataclass(frozen=True)
class NofM(Pools):
    """Of every m consecutive inputs of an output the n highest stay awake; takes no amount.

    Inputs are consecutive along dimension 1; a convolution has such groups at each kernel
    position. Where a unit of a group sleeps already, only what is missing is chosen.

    Raises:
        SetupError: not 0 < n < m; an amount; units other than single weights; later, a tensor
            whose inputs m does not divide.

    Source: Mishra et al., 2021 (2:4 sparse tensor cores).
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        whole = all(isinstance(v, Integral) and not isinstance(v, bool) for v in (self.n, self.m))
        if not whole or not 0 < self.n < self.m:
            raise SetupError(f"{self!r}: n of m inputs stay awake, with 0 < n < m, as NofM(2, 4).")

    def check(
        self, units: Units | None, amount: Amount | None, highest: bool | None = None
    ) -> None:
        """No amount, and single weights."""
        if amount is not None:
            raise SetupError(
                f"{self!r} puts {self.m - self.n} of every {self.m} to sleep and takes no amount: "
                f"leave {amount!r} out."
            )
        if units is not None and not isinstance(units, Weights):
            raise SetupError(f"{self!r} compares single weights: use Weights(), not {units!r}.")

    def pick(self, field: Field, amount: Amount | None, carry: Carry) -> tuple[Taken, Carry]:
        """What each group lacks or has too many."""
        self.check(None, amount, field.highest)
        return Taken({n: self._of_tensor(field, n) for n in field.scores}, None), 0.0

    def _of_tensor(self, field: Field, name: str) -> Tensor:
        scores, drop = field.scores[name], self.m - self.n
        able, asleep = field.eligible.get(name), field.asleep.get(name)
        if able is None and asleep is None and not field.highest:
            return lowest_of_groups(name, scores, self.m, drop)
        none = torch.zeros((), dtype=torch.bool, device=scores.device).expand(scores.shape)
        slept = self._per_group(name, none if asleep is None else asleep)
        counts = (slept - drop if field.highest else drop - slept).clamp(min=0)
        allowed = ~none if able is None else able
        short = int((counts > self._per_group(name, allowed)).count_nonzero())
        if short:
            raise ScheduleError(
                f"{self!r} cannot be reached in {short} of {counts.numel()} groups of {name!r}: "
                "too few of their units may be chosen."
            )
        return some_of_groups(name, scores, allowed, counts, self.m, highest=field.highest)

    def _per_group(self, name: str, mask: Tensor) -> Tensor:
        """How many are True in each group: (O, positions, I / m)."""
        return by_input(name, mask, self.m).unflatten(-1, (-1, self.m)).sum(-1)
