"""What a configuration will do, without training: which parameters, and every firing of every rule.

The real model, the real rules and the real choosing are used, on the model's first weights. So the
counts of each firing are those of the run, and so is their spread over the layers where every
tensor is a pool of its own. Where tensors compete (a global pool), or an amount is a threshold of
the score, the spread depends on training; it is then shown as the first weights would have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from saliency import Magnitude
from schedules.preview import Row, preview
from sleepengine.choosing.pools import Global
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.pipeline import build
from sleepengine.pipeline.configuration.config import Config, load
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.experiments.table import networks_of
from sleepengine.pipeline.parts import Given, ModelGiven, OptimizerMaker, Parts, brought
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.problems.loaders import Loaders
from sleepengine.pipeline.running import checked
from sleepengine.pipeline.training.network import Network
from sleepengine.rules.rule import Rule


@dataclass(frozen=True)
class PlannedTensor:
    """One parameter in scope."""

    name: str
    shape: tuple[int, ...]
    weights: int


@dataclass(frozen=True)
class PlannedFiring:
    """One rule firing once.

    step: steps done by then; None for a rule whose time is not known beforehand. level: of a
    lottery, else 0. target: the number that the rule's amount names, None without one. amount: the
    amount with that number, as "by(0.3)". asleep and layers: sleeping share of all maskable weights
    and of each tensor once all rules of that step have acted, None if unknown.
    """

    step: int | None
    level: int
    rule: str
    target: float | None
    amount: str
    asleep: float | None
    layers: dict[str, float] | None


@dataclass(frozen=True)
class Plan:
    """A configuration tried on paper. `spread_is_exact`: layers are those of the run itself."""

    name: str
    experiment: str
    model: str
    parameters: int
    tensors: tuple[PlannedTensor, ...]
    networks: int
    steps_per_epoch: int
    total_steps: int
    firings: tuple[PlannedFiring, ...]
    spread_is_exact: bool

    @property
    def maskable(self) -> int:
        """Weights that may sleep."""
        return sum(tensor.weights for tensor in self.tensors)


def plan(
    config: Config | str | Path,
    *,
    data_folder: str | Path | None = None,
    model: ModelGiven | None = None,
    data: Data | None = None,
    loader: Iterable[Any] | Loaders | None = None,
    optimizer: OptimizerMaker | None = None,
    plugins: Plugins | None = None,
    overrides: Sequence[str] = (),
) -> Plan:
    """Try a configuration without training; arguments as for `run`.

    Raises:
        ConfigError, SetupError: as `run` would.
    """
    if not isinstance(config, Config):
        config = load(config, plugins=plugins, overrides=overrides, own_model=model is not None)
    folder = None if data_folder is None else Path(data_folder)
    parts = Parts.of(config, folder, Given(model, brought(data, loader), None, optimizer))
    network = checked(parts)
    engine, store = network.engine, network.engine.store
    lottery = config.lottery is not None
    rules = build.level_rules(config) if lottery else engine.rules
    firings = _levels(parts, network, rules) if lottery else _steps(parts, network, rules)
    return Plan(
        name=config.name,
        experiment=config.experiment,
        model=type(network.model).__name__ if model is not None else config.model.name,
        parameters=sum(p.numel() for p in network.model.parameters()),
        tensors=tuple(
            PlannedTensor(name, tuple(store.shape(name)), store.numel(name))
            for name in engine.scope
        ),
        networks=networks_of(parts),
        steps_per_epoch=parts.steps_per_epoch,
        total_steps=parts.total_steps,
        firings=tuple(firings),
        spread_is_exact=all(_is_exact(rule) for rule in rules),
    )


def _levels(parts: Parts, network: Network, rules: Sequence[Rule]) -> list[PlannedFiring]:
    """The rules of every level, one after another."""
    levels = 0 if parts.config.lottery is None else parts.config.lottery.levels
    rows = [Row(0, rule.name, rule.target(network.engine.time.clock())) for rule in rules]
    firings: list[PlannedFiring] = []
    for level in range(1, levels + 1):
        firings += _fire(network.engine, rules, rows, 0, level)
    return firings


def _steps(parts: Parts, network: Network, rules: Sequence[Rule]) -> list[PlannedFiring]:
    """Rules in the order of time; those of one step fire together, as they will."""
    firings: list[PlannedFiring] = []
    named = {rule.name: rule for rule in rules}
    rows = preview(rules, parts.total_steps, parts.steps_per_epoch)
    for step, together in groupby(rows, key=lambda row: row.step):
        found = list(together)
        if step is None:
            firings += [_unknown(named[row.rule]) for row in found]
            continue
        firings += _fire(network.engine, [named[row.rule] for row in found], found, step, 0)
    return firings


def _fire(
    engine: SleepEngine, rules: Sequence[Rule], rows: Sequence[Row], step: int, level: int
) -> list[PlannedFiring]:
    """Fire on the first weights, with their size for a score, and look at the masks."""
    engine.time.iteration = step
    amounts = [_amount(rule, engine, row.target) for rule, row in zip(rules, rows, strict=True)]
    acting = [_on_paper(rule) for rule in rules if rule.what.chooses]
    if acting:
        engine.fire(*acting)
    layers = {name: engine.store.fraction(name) for name in engine.scope}
    asleep = engine.fraction()
    return [
        PlannedFiring(step, level, row.rule, row.target, text, asleep, layers)
        for row, text in zip(rows, amounts, strict=True)
    ]


def _amount(rule: Rule, engine: SleepEngine, target: float | None) -> str:
    """The amount of the rule at this moment, in few letters."""
    if rule.who is None:
        return ""
    if rule.who.amount is None:
        return repr(rule.who.pools)
    amount = rule.who.amount.at(rule.progress(engine.time.clock()))
    return repr(amount) if target is None else f"{type(amount).__name__.lower()}({target:.3g})"


def _unknown(rule: Rule) -> PlannedFiring:
    """A rule of which the time is not known beforehand."""
    text = "" if rule.who is None else repr(rule.who.amount or rule.who.pools)
    return PlannedFiring(None, 0, rule.name, None, text, None, None)


def _on_paper(rule: Rule) -> Rule:
    """The rule with a score that needs no training."""
    if rule.who is None or rule.who.scorer is None:
        return rule
    return replace(rule, who=replace(rule.who, scorer=Magnitude(), where=(), batches=None))


def _is_exact(rule: Rule) -> bool:
    """Whether the counts in every tensor do not depend on the scores."""
    if rule.who is None or rule.who.scorer is None:
        return True
    return not isinstance(rule.who.pools, Global) and not rule.who.filters
