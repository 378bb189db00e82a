"""Runs of every optimizer in every configuration: with the engine, by hand, and left alone.

The configurations are those of tests/torture: the official ones of the installed torch.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from sleepengine import SleepEngine
from sleepengine.enforcement.state_table import rule_for
from sleepengine.enforcement.verdicts import needs_repair

HERE = Path(__file__).parent
WARM_UP, STEPS = 3, 8


def _catalogue() -> ModuleType:
    """The configurations that the torture tests know."""
    path = HERE.parent / "tests" / "torture" / "catalogue.py"
    spec = importlib.util.spec_from_file_location("optimizer_catalogue", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CATALOGUE = _catalogue()


@dataclass(frozen=True, eq=False)  # compared, and hashed, by itself
class Case:
    """One optimizer with the options that the page shows."""

    kind: type[Optimizer]
    shown: dict[str, Any] = field(default_factory=dict)
    more: tuple[dict[str, Any], ...] = ()  # options that create further state

    @property
    def options(self) -> str:
        """The options as they are written in a call."""
        return ", ".join(f"{key}={value}" for key, value in self.shown.items()) or "defaults"

    def every(self) -> list[dict[str, Any]]:
        """The shown options, those with more state, and the official configurations."""
        own = [self.shown, *({**self.shown, **more} for more in self.more)]
        return own + [one.options for one in CATALOGUE.configurations(self.kind)]


class Toy(nn.Module):
    """One matrix that is pulled to random targets; the bias is there for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.ones(5))
        self.w = nn.Parameter(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)))

    def step(
        self,
        optimizer: Optimizer,
        seed: int,
        inactive: Tensor | None = None,
        factor: float = 1.0,
    ) -> None:
        """One step; `inactive` is where a bare loop would zero the gradient itself."""

        def closure() -> Tensor:
            optimizer.zero_grad()
            target = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
            loss = ((self.w - target) ** 2 * (1 + target.abs())).sum() + self.b.sum()
            (loss * factor).backward()
            grad = self.w.grad
            if grad is not None and inactive is not None:
                grad.masked_fill_(inactive, 0)
            if grad is not None and isinstance(optimizer, optim.SparseAdam):
                self.w.grad = grad.to_sparse(1)
            return loss

        if isinstance(optimizer, optim.LBFGS):
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()


# At random: a regular pattern can be one that even an optimizer of whole matrices leaves alone.
_DRAWN = torch.rand(6, 5, generator=torch.Generator().manual_seed(2))
ASLEEP, FROZEN = _DRAWN < 1 / 3, _DRAWN > 2 / 3


@dataclass(frozen=True)
class Run:
    """The weights at the end, and whether sleepers and frozen ones stayed to the bit."""

    weights: Tensor
    asleep: bool
    frozen: bool


Act = Callable[[Toy, Optimizer], None]


def run(
    case: Case,
    options: dict[str, Any],
    begin: Act,
    inactive: Tensor | None,
    after: Act,
    spoiled: bool = True,
) -> Run:
    """Some steps, then `begin`, then more steps with `after` following each.

    If it is spoiled, there follows one whose loss is NaN, which inactive weights must survive too.
    """
    model = Toy()
    optimizer = case.kind([model.w], **copy.deepcopy(options))
    for seed in range(WARM_UP):
        model.step(optimizer, seed)
    frozen = model.w.detach().clone()[FROZEN]
    begin(model, optimizer)
    for seed in range(WARM_UP, STEPS):
        model.step(optimizer, seed, inactive)
        after(model, optimizer)
    now = model.w.detach().clone()
    if spoiled:
        model.step(optimizer, STEPS, inactive, torch.nan)
        after(model, optimizer)
    words = model.w.detach().view(torch.int32)  # so that -0.0 counts
    return Run(now, not words[ASLEEP].any(), torch.equal(words[FROZEN], frozen.view(torch.int32)))


@torch.no_grad()
def zero(model: Toy, optimizer: Optimizer) -> None:
    """What a bare loop does: zero the weights once."""
    model.w[ASLEEP] = 0


def nothing(model: Toy, optimizer: Optimizer) -> None:
    """Leave it to the optimizer."""


def in_engine(case: Case, options: dict[str, Any]) -> Run:
    """The same with the engine, around a loop that masks nothing."""

    def begin(model: Toy, optimizer: Optimizer) -> None:
        with warnings.catch_warnings():  # the page quotes them
            warnings.simplefilter("ignore")
            engine = SleepEngine(model, optimizer, params="w", check_every=1).attach()
        engine.freeze_weights("w", FROZEN)
        engine.sleep_weights("w", ASLEEP)

    return run(case, options, begin, None, nothing)


def by_hand(case: Case, options: dict[str, Any], repaired: bool = True) -> Run:
    """The oracle: gradients, state and, if `repaired`, weights are written by hand."""
    kept: list[Tensor] = []

    @torch.no_grad()
    def begin(model: Toy, optimizer: Optimizer) -> None:
        zero(model, optimizer)
        kept.append(model.w.clone())
        if isinstance(optimizer, optim.LBFGS):
            optimizer.state.clear()
        for key, value in optimizer.state[model.w].items():
            rule = rule_for(key, value, model.w)
            if rule is not None and rule.fill is not None:
                value[ASLEEP | FROZEN] = rule.fill

    @torch.no_grad()
    def after(model: Toy, optimizer: Optimizer) -> None:
        model.w.copy_(torch.where(ASLEEP | FROZEN, kept[0], model.w))

    return run(case, options, begin, ASLEEP | FROZEN, after if repaired else nothing)


@dataclass(frozen=True)
class Found:
    """In how many configurations inactive weights move unless they are repaired after the step."""

    tried: int
    asleep: int
    frozen: int


@cache
def sweep(case: Case) -> tuple[Found, tuple[str, ...]]:
    """What all configurations of one row do, and where it is not what the page says."""
    asleep = frozen = 0
    wrong: list[str] = []
    for options in case.every():
        told = str(CATALOGUE.Configuration(case.kind, options))
        ours, oracle = in_engine(case, options), by_hand(case, options)
        if not (ours.asleep and ours.frozen and torch.equal(ours.weights, oracle.weights)):
            wrong.append(f"{told} does not do what the page says")
        bare = by_hand(case, options, repaired=False)
        asleep, frozen = asleep + (not bare.asleep), frozen + (not bare.frozen)
        optimizer = CATALOGUE.Configuration(case.kind, options).build([Toy().w])
        for which, stays in ((False, bare.asleep), (True, bare.frozen)):
            if not stays and not needs_repair(optimizer, optimizer.param_groups[0], which):
                wrong.append(f"{told} moves inactive weights, and nothing repairs them")
    return Found(len(case.every()), asleep, frozen), tuple(wrong)
