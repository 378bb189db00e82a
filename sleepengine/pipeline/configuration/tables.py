"""Every name that a configuration may use, in explicit tables: no import paths, nothing implied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_
from typing import Any, TypeAlias

import torch

import saliency
import schedules
from schedules import Time, Trigger
from sleepengine import choosing
from sleepengine.actions import freeze, reset, rewind, sleep, values, wake
from sleepengine.actions.action import Action
from sleepengine.actions.values import ValuePolicy
from sleepengine.choosing import Amount, Pools, Reduction, Shares, Units
from sleepengine.errors import SetupError
from sleepengine.learned.deterministic import StraightThrough, TopK
from sleepengine.learned.relaxation import Relaxation
from sleepengine.learned.stochastic import GumbelSigmoid, HardConcrete
from sleepengine.nodes.units import Nodes
from sleepengine.pipeline.configuration.entries import Entry, Kind, by_name
from sleepengine.pipeline.configuration.scorer_tables import SCORER_KINDS, SCORERS
from sleepengine.pipeline.problems import data, models, questions, transformer
from sleepengine.pipeline.problems.pairs import pairs
from sleepengine.rules.filters import Filter, older_than
from sleepengine.rules.rule import Rule, Who

Curve: TypeAlias = Callable[[float], float]


def all_of(*triggers: Trigger) -> Trigger:
    """Fire when all of the triggers do."""
    if len(triggers) < 2:
        raise SetupError("and: give two or more triggers, as {and: [{every: 100it}, ...]}")
    return reduce(and_, triggers)


def any_of(*triggers: Trigger) -> Trigger:
    """Fire when one of the triggers does."""
    if len(triggers) < 2:
        raise SetupError("or: give two or more triggers, as {or: [{once: 1ep}, ...]}")
    return reduce(or_, triggers)


def inverse(trigger: Trigger) -> Trigger:
    """Fire when the trigger does not."""
    return ~trigger


def level_rule(what: Action, who: Who | None = None, name: str = "") -> Rule:
    """A rule without `when`: it is fired between two levels of a lottery ticket experiment."""
    return Rule(schedules.once("0it"), who, what, name=name)


_UNITS = by_name("units", (choosing.Weights, choosing.Blocks, choosing.Rows, choosing.Columns))
# Node groups are found from the model; a file names them with `params`.
_NODES = Entry("Nodes", Nodes, hidden=frozenset({"groups"}))
UNITS = Kind("units", {**_UNITS.entries, "Nodes": _NODES})
REDUCTIONS = by_name("reduction", (choosing.Mean, choosing.Total, choosing.Max, choosing.Norm))
POOLS = by_name("pools", (choosing.Global, choosing.PerTensor, choosing.PerRow, choosing.NofM))
SHARES = by_name(
    "shares",
    (choosing.Uniform, choosing.ER, choosing.ERK, choosing.Factors, choosing.MeanScore),
)
AMOUNTS = by_name("amount", choosing.AMOUNTS)
FILTERS = by_name("filter", (older_than,))
VALUES = by_name("value", (values.Kept,))
ACTIONS = by_name(
    "action",
    (sleep.Sleep, wake.Wake, freeze.Freeze, freeze.Thaw, reset.Reset, rewind.Rewind),
)
TRIGGERS = Kind(
    "trigger",
    {
        **by_name(
            "trigger",
            (
                schedules.every,
                schedules.once,
                schedules.at,
                schedules.after,
                schedules.before,
                schedules.cooldown,
                schedules.plateau,
                schedules.on,
            ),
        ).entries,
        "and": Entry("and", all_of),
        "or": Entry("or", any_of),
        "not": Entry("not", inverse),
    },
)
CURVES = by_name(
    "curve",
    (
        schedules.constant,
        schedules.linear,
        schedules.cosine,
        schedules.cubic,
        schedules.exponential,
        schedules.one_cycle,
        schedules.staircase,
        schedules.cyclic,
        schedules.join,
    ),
)

# The pipeline gives the parameters; the switches that need a GPU or a graph stay out of files.
_NOT_IN_FILES = frozenset({"differentiable", "capturable", "foreach", "fused"})
OPTIMIZERS = Kind(
    "optimizer",
    {
        make.__name__: Entry(make.__name__, make, frozenset({"params"}), hidden=_NOT_IN_FILES)
        for make in (
            torch.optim.SGD,
            torch.optim.Adam,
            torch.optim.AdamW,
            torch.optim.RMSprop,
            torch.optim.RAdam,
            torch.optim.NAdam,
            torch.optim.Adamax,
            torch.optim.Adagrad,
            torch.optim.Adadelta,
            torch.optim.ASGD,
            torch.optim.Rprop,
        )
    },
)


def _lr(make: Callable[..., Any], **times: Any) -> Entry:
    hidden = frozenset({"last_epoch", "verbose", "epochs", "steps_per_epoch"})
    return Entry(make.__name__, make, frozenset({"optimizer"}), times, hidden)


_lr_module = torch.optim.lr_scheduler
LR_SCHEDULES = Kind(
    "learning-rate schedule",
    {
        entry.name: entry
        for entry in (
            _lr(_lr_module.StepLR, step_size=Time),
            _lr(_lr_module.MultiStepLR, milestones=list[Time]),
            _lr(_lr_module.ExponentialLR),
            _lr(_lr_module.CosineAnnealingLR, T_max=Time),
            _lr(_lr_module.CosineAnnealingWarmRestarts, T_0=Time),
            _lr(_lr_module.LinearLR, total_iters=Time),
            _lr(_lr_module.ConstantLR, total_iters=Time),
            _lr(_lr_module.PolynomialLR, total_iters=Time),
            _lr(_lr_module.OneCycleLR, total_steps=Time),
        )
    },
)

_MODEL = frozenset({"input_shape", "classes", "seed"})
_SAMPLE = {"input_shape": (1, 8, 8), "classes": 10, "seed": 0}
MODELS = Kind(
    "model",
    {
        make.__name__: Entry(make.__name__, make, _MODEL, sample=_SAMPLE)
        for make in (
            models.mlp,
            models.lenet_300_100,
            models.conv_small,
            transformer.tiny_transformer,
        )
    },
)
DATA = Kind(
    "data set",
    {
        "digits": Entry("digits", data.digits, frozenset({"folder"})),
        "mnist": Entry("mnist", data.mnist_family, frozenset({"folder"})),
        "pairs": Entry("pairs", pairs, frozenset({"folder"})),
    },
)
RELAXATIONS = by_name("relaxation", (GumbelSigmoid, HardConcrete, StraightThrough, TopK))
TASKS = by_name(
    "task",
    (
        questions.Label,
        questions.Remainder,
        questions.AtLeast,
        questions.Sum,
        questions.Product,
    ),
)

RULE = Entry("rule", Rule)
LEVEL_RULE = Entry("rule", level_rule)
WHO = Entry("who", Who)


@dataclass(frozen=True)
class Plugins:
    """A user's own scorers, models and data sets, by the names that stand in the YAML.

    A scorer is a class. A model is a function that may ask for `input_shape`, `classes` and
    `seed`; a data set one that may ask for `folder` and returns `Data`. Other arguments come
    from the file and are checked against their types.
    """

    scorers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    models: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    data: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """The kinds that types of arguments stand for, and those that only the top level uses."""

    kinds: Mapping[Any, Kind]
    models: Kind
    data: Kind
    optimizers: Kind = OPTIMIZERS
    lr_schedules: Kind = LR_SCHEDULES


def tables(plugins: Plugins | None = None) -> Tables:
    """All tables, with the user's own names.

    Raises:
        SetupError: a name is taken, or an argument cannot be checked.
    """
    own = plugins or Plugins()
    kinds = {
        saliency.Scorer: SCORERS.plus(own.scorers),
        **SCORER_KINDS,
        Units: UNITS,
        Reduction: REDUCTIONS,
        Pools: POOLS,
        Shares: SHARES,
        Amount: AMOUNTS,
        Filter: FILTERS,
        ValuePolicy: VALUES,
        Action: ACTIONS,
        Trigger: TRIGGERS,
        Curve: CURVES,
        Relaxation: RELAXATIONS,
        questions.Question: TASKS,
    }
    return Tables(
        kinds,
        MODELS.plus(own.models, MODELS.entries["mlp"]),
        DATA.plus(own.data, DATA.entries["mnist"]),
    )
