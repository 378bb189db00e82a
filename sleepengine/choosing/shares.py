"""What share of each tensor is asked for when every tensor is its own pool."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Real
from typing import ClassVar, TypeAlias, final

from sleepengine.choosing.amount import Amount, Tally
from sleepengine.choosing.amounts import By, Count, Rate, To
from sleepengine.errors import SetupError, UnknownNameError, did_you_mean

Carry: TypeAlias = float | Mapping[str, float]
Shape: TypeAlias = Sequence[int]


@dataclass(frozen=True)
class Asked:
    """One firing as the shares see it; `mean_awake(name)` is the mean score of the awake units."""

    amount: Amount
    tallies: Mapping[str, Tally]
    shapes: Mapping[str, Shape]
    highest: bool
    carry: Carry
    mean_awake: Callable[[str], float]


class Shares(ABC):
    """Turns one amount into a quota for each tensor."""

    @abstractmethod
    def check(self, amount: Amount, highest: bool | None) -> None:
        """Raise SetupError when the amount cannot be shared this way (None: direction unknown)."""

    @abstractmethod
    def quotas(self, asked: Asked) -> tuple[dict[str, int], Carry]:
        """Units to choose per tensor, and the remainders for the next firing."""


class FractionShares(Shares):
    """Shares that depend on the shapes alone: f becomes one f for each tensor.

    `every_share` says whether by(f) and rate(r) are changed as well; else only to(f) is.
    """

    every_share: ClassVar[bool]

    @abstractmethod
    def fractions(self, f: float, shapes: Mapping[str, Shape]) -> dict[str, float]:
        """The sleeping share of each tensor when `f` is asked for."""

    @abstractmethod
    def check(self, amount: Amount, highest: bool | None) -> None:
        """Raise SetupError for amounts these fractions cannot change."""

    @final
    def quotas(self, asked: Asked) -> tuple[dict[str, int], Carry]:
        """The quota of each tensor, rounded for itself."""
        amounts = self._amounts(asked.amount, asked.shapes)
        counts: dict[str, int] = {}
        remainders: dict[str, float] = {}
        for name, tally in asked.tallies.items():
            before = asked.carry
            counts[name], remainders[name] = amounts[name].quota(
                tally,
                highest=asked.highest,
                carry=before.get(name, 0.0) if isinstance(before, Mapping) else before,
            )
        return counts, remainders if isinstance(asked.amount, Rate) else 0.0

    def _amounts(self, amount: Amount, shapes: Mapping[str, Shape]) -> dict[str, Amount]:
        """The amount of each tensor, named here so that every amount keeps its own rounding."""
        if isinstance(amount, To) and not callable(amount.f):
            return {n: To(f) for n, f in self.fractions(amount.f, shapes).items()}
        if self.every_share and isinstance(amount, By) and not callable(amount.f):
            return {n: By(f) for n, f in self.fractions(amount.f, shapes).items()}
        if self.every_share and isinstance(amount, Rate) and not callable(amount.r):
            return {n: Rate(f) for n, f in self.fractions(amount.r, shapes).items()}
        return dict.fromkeys(shapes, amount)


@final
@dataclass(frozen=True)
class Uniform(FractionShares):
    """f_l = f: the same share of every tensor.

    Each tensor rounds for itself, k_l = floor(f n_l + 1/2).

    >>> Uniform().fractions(0.9, {"a": (4, 5), "b": (2, 2)})
    {'a': 0.9, 'b': 0.9}
    """

    every_share: ClassVar[bool] = False

    def fractions(self, f: float, shapes: Mapping[str, Shape]) -> dict[str, float]:
        """The same f for all."""
        return dict.fromkeys(shapes, f)

    def check(self, amount: Amount, highest: bool | None) -> None:
        """Every amount fits."""
        return


@final
@dataclass(frozen=True)
class ER(FractionShares):
    """1 - f_l = eps (n_in + n_out) / (n_in n_out), never above 1, with eps from the total.

    n_out and n_in are dimensions 0 and 1. eps makes the sleeping share of all tensors together f;
    a tensor that would need more than 1 stays dense and the others pay for it. Applies to to(f);
    other amounts ask the same of every tensor. k_l = floor(f_l n_l + 1/2), so the total may differ
    from f n by half a unit per tensor.

    Raises:
        SetupError: a tensor has fewer than 2 dimensions.

    Source: Mocanu et al., 2018.

    >>> ER().fractions(0.3, {"a": (2, 2), "b": (4, 4)})
    {'a': 0.0, 'b': 0.375}
    """

    every_share: ClassVar[bool] = False

    def fractions(self, f: float, shapes: Mapping[str, Shape]) -> dict[str, float]:
        """A share per tensor, by its neurons."""
        raw = {n: sum(s[:2]) / max(1, math.prod(s[:2])) for n, s in _deep("ER()", shapes).items()}
        return _clamped(f, raw, shapes)

    def check(self, amount: Amount, highest: bool | None) -> None:
        """Every amount fits."""
        return


@final
@dataclass(frozen=True)
class ERK(FractionShares):
    """1 - f_l = eps sum(dims_l) / prod(dims_l), never above 1, with eps from the total.

    As `ER`, with the kernel dimensions counted too. Applies to to(f); other amounts ask the same of
    every tensor. k_l = floor(f_l n_l + 1/2).

    Raises:
        SetupError: a tensor has fewer than 2 dimensions.

    Source: Evci et al., 2020 (RigL).

    >>> lenet = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    >>> {name: round(f, 6) for name, f in ERK().fractions(0.9, lenet).items()}
    {'fc1': 0.920432, 'fc2': 0.769811, 'fc3': 0.0}
    """

    every_share: ClassVar[bool] = False

    def fractions(self, f: float, shapes: Mapping[str, Shape]) -> dict[str, float]:
        """A share per tensor, by all its dimensions."""
        raw = {n: sum(s) / max(1, math.prod(s)) for n, s in _deep("ERK()", shapes).items()}
        return _clamped(f, raw, shapes)

    def check(self, amount: Amount, highest: bool | None) -> None:
        """Every amount fits."""
        return


@final
@dataclass(frozen=True)
class Factors(FractionShares):
    """f_l = factor f for the tensors that match a pattern, f for the others.

    Patterns are those of the shell (`*.weight`); a tensor that matches several gets the product.
    Applies to to(f), by(f) and rate(r).

    Raises:
        SetupError: a factor is negative or no number, or factor times f is above 1.
        UnknownNameError: a pattern matches nothing.

    >>> Factors({"fc3*": 0.5}).fractions(0.2, {"fc1.weight": (3, 2), "fc3.weight": (2, 3)})
    {'fc1.weight': 0.2, 'fc3.weight': 0.1}
    """

    factors: Mapping[str, float]
    every_share: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for pattern, factor in self.factors.items():
            number = isinstance(factor, Real) and not isinstance(factor, bool)
            if not (number and math.isfinite(factor) and factor >= 0):
                raise SetupError(
                    f"Factors: {pattern!r} has factor {factor!r}; give a number, 0 or more."
                )
        object.__setattr__(self, "factors", dict(self.factors))

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.factors.items())))

    def fractions(self, f: float, shapes: Mapping[str, Shape]) -> dict[str, float]:
        """A share per tensor, f times its factors."""
        found = dict.fromkeys(shapes, f)
        for pattern, factor in self.factors.items():
            names = [n for n in shapes if fnmatchcase(n, pattern)]
            if not names:
                hint = did_you_mean(pattern, shapes)
                raise UnknownNameError(f"Factors: the pattern {pattern!r} matches nothing. {hint}")
            for name in names:
                found[name] *= factor
        for name, share in found.items():
            if share > 1:
                raise SetupError(
                    f"Factors: {name!r} would have {share:g} of its units chosen, and fractions "
                    f"run from 0 to 1; its factor may be {1 / f:g} at most where {f:g} is asked."
                )
        return found

    def check(self, amount: Amount, highest: bool | None) -> None:
        """Raise SetupError for counts, which are no shares."""
        if isinstance(amount, Count):
            raise SetupError(f"Factors multiply a share, and {amount!r} is none: use to, by, rate.")


def _deep(who: str, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
    for name, shape in shapes.items():
        if len(shape) < 2:
            raise SetupError(
                f"{who} needs 2 or more dimensions: {name!r} has shape {tuple(shape)}. Leave it "
                "out of the rule, or give choose() the shapes of the parameters."
            )
    return shapes


def _clamped(f: float, raw: Mapping[str, float], shapes: Mapping[str, Shape]) -> dict[str, float]:
    """1 - min(1, eps raw), with eps such that (1 - f) of all entries stay awake."""
    sizes = {n: math.prod(s) for n, s in shapes.items()}
    budget = (1.0 - f) * sum(sizes.values())
    dense: set[str] = set()
    while True:
        rest = [n for n in sizes if n not in dense and sizes[n] > 0]
        weight = sum(raw[n] * sizes[n] for n in rest)
        eps = (budget - sum(sizes[n] for n in dense)) / weight if rest else 0.0
        # A tensor that cannot be denser than dense leaves the others less: ask again without it.
        # The margin keeps f = 0, where every density is 1, from hanging on the last bit.
        full = {n for n in rest if eps * raw[n] > 1.0 - 1e-12}
        if not full:
            return {n: 1.0 - eps * raw[n] if n in rest else 0.0 for n in sizes}
        dense |= {n for n in full if raw[n] == max(raw[m] for m in full)}
