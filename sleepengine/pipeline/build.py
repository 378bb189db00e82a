"""From a checked configuration to things: rules, data, model, optimizer, schedule, engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from schedules import Clock
from sleepengine.actions.live import Stateful
from sleepengine.engine import setup
from sleepengine.engine.sleep_engine import SleepEngine
from sleepengine.errors import ConfigError, SetupError
from sleepengine.files.yaml_document import KeyPath
from sleepengine.firing.gathering import BatchLoss, Criterion
from sleepengine.nodes.units import Nodes
from sleepengine.pipeline.checks import at_rules, check_params
from sleepengine.pipeline.configuration.config import Config
from sleepengine.pipeline.configuration.entries import Entry, Kind
from sleepengine.pipeline.configuration.reading import Call
from sleepengine.pipeline.configuration.tables import LEVEL_RULE, RULE
from sleepengine.pipeline.problems.dataset import DataSet
from sleepengine.pipeline.problems.loaders import LoaderData, Loaders
from sleepengine.pipeline.training.lr import schedule_of
from sleepengine.rules.rule import Rule

T = TypeVar("T")


def rules(config: Config) -> tuple[Rule, ...]:
    """The rules of a training, new objects at every call (scorers may have memories).

    >>> from sleepengine.pipeline.configuration.config import load
    >>> config = load('''
    ... model: {mlp: {sizes: [8]}}
    ... train: {length: 2ep}
    ... rules:
    ...   - {when: {once: 1ep}, who: {scorer: Magnitude, amount: {to: 0.9}}, what: Sleep}
    ... ''')
    >>> [(rule.name, rule.when, rule.who.amount) for rule in rules(config)]
    [('Sleep-Magnitude', once('1ep'), to(0.9))]
    """
    return _rules(config, RULE, config.rules, ("rules",))


def level_rules(config: Config) -> tuple[Rule, ...]:
    """The rules between two levels of a lottery ticket experiment, for `engine.fire(*rules)`."""
    if config.lottery is None:
        return ()
    return _rules(config, LEVEL_RULE, config.lottery.each_level, ("lottery", "each_level"))


def dataset(config: Config, folder: Path | None = None, seed: int = 0) -> DataSet:
    """The data set; `seed` picks the split where the file does not, and where there is a choice.

    Raises:
        ConfigError: the data set's own complaint, or it needs a folder and none is given.
    """
    call = _call(config, config.tables.data, config.plain.get("data", "digits"), ("data",))
    given: dict[str, Any] = {}
    if "folder" in call.entry.takes:
        if folder is None:
            reason = f"{call.entry.name} is read from files: say where they lie with --data FOLDER"
            raise _fault(config, ("data",), reason)
        given["folder"] = folder
    if "seed" in call.entry.arguments and "seed" not in call.arguments:
        call = Call(call.entry, {**call.arguments, "seed": seed}, call.path, call.named)
    made = _at(config, ("data",), lambda: call.make(**given))
    if isinstance(made, Loaders):
        made = _at(config, ("data",), lambda: LoaderData(made))
    if not isinstance(made, DataSet):
        reason = (
            f"{call.entry.name} gave {type(made).__name__}, neither a pipeline.Data nor Loaders"
        )
        raise _fault(config, ("data",), reason)
    return made


def model(config: Config, data: DataSet, seed: int) -> nn.Module:
    """A new model for the data, drawn under the seed.

    Raises:
        ConfigError: the model's own complaint.
    """
    if "model" not in config.plain:
        raise _fault(config, (), "needs 'model', since no model= was given")
    if data.classes < 1:
        reason = "how many classes? give Loaders(train=..., classes=10), or a model of yours"
        raise _fault(config, ("model",), f"loader= does not say {reason} with model=")
    call = _call(config, config.tables.models, config.plain["model"], ("model",))
    given = {"input_shape": data.input_shape, "classes": data.classes, "seed": seed}
    made = _at(config, ("model",), lambda: call.make(**given))
    if not isinstance(made, nn.Module):
        reason = f"{call.entry.name} gave {type(made).__name__}, not a torch.nn.Module"
        raise _fault(config, ("model",), reason)
    return made


def optimizer(config: Config, model: nn.Module) -> Optimizer:
    """A new optimizer of all the model's parameters."""
    written = config.train.optimizer
    path = ("train", "optimizer")
    call = _call(config, config.tables.optimizers, {written.name: written.arguments}, path)
    made: Optimizer = _at(config, path, lambda: call.make(params=model.parameters()))
    return made


def lr_schedule(
    config: Config, optimizer: Optimizer, steps_per_epoch: int, total_steps: int
) -> tuple[LRScheduler, bool] | None:
    """The learning-rate schedule, and whether it is stepped per epoch; None without one."""
    written = config.train.lr_schedule
    if written is None:
        return None
    path = ("train", "lr_schedule")
    call = _call(config, config.tables.lr_schedules, {written.name: written.arguments}, path)
    clock = Clock(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    return _at(config, path, lambda: schedule_of(call, optimizer, clock))


def engine(
    config: Config,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    scheduler: Stateful | None = None,
    sampler: Stateful | None = None,
    data: Iterable[Any] | None = None,
    loss_fn: Criterion | BatchLoss | None = None,
    seed: int = 0,
    example_inputs: Any = None,
) -> SleepEngine:
    """An engine with the rules of the configuration.

    `example_inputs` find the node groups, where a rule asks for nodes or `engine: {nodes: true}`.

    For a lottery ticket experiment it has no rules of its own and keeps what the level's rules
    ask for; fire those with `engine.fire(*level_rules(config))`.

    Raises:
        ConfigError: a `params:` matches nothing in this model, or a rule cannot work.
        SetupError: what else the engine finds.
    """
    options = {name: getattr(config.engine, name) for name in config.engine.model_fields_set}
    own, between = rules(config), level_rules(config)
    check_params(config, model, own + between)
    tags = setup.kept_times(between, options.pop("keep", ()))
    nodes = options.pop("nodes", None)
    if nodes is None:
        nodes = any(r.who is not None and isinstance(r.who.units, Nodes) for r in own + between)
    try:
        return SleepEngine(
            model,
            optimizer,
            own,
            scheduler=scheduler,
            sampler=sampler,
            data=data,
            loss_fn=loss_fn,
            seed=seed,
            keep=tuple(tags),
            example_inputs=example_inputs if nodes else None,
            **options,
        )
    except SetupError as error:
        raise at_rules(config, own, error) from error


def _rules(config: Config, entry: Entry, data: Sequence[Any], path: KeyPath) -> tuple[Rule, ...]:
    reader, mistakes = config.reader()
    made = tuple(reader.record(entry, rule, (*path, i)) for i, rule in enumerate(data))
    mistakes.report()
    return made


def _call(config: Config, kind: Kind, data: Any, path: KeyPath) -> Call:
    reader, mistakes = config.reader()
    call = reader.call(kind, data, path)
    mistakes.report()
    if call is None:
        raise ConfigError(f"{config.source}: {data!r} cannot be read")
    return call


def _at(config: Config, path: KeyPath, make: Callable[[], T]) -> T:
    """What `make` gives; its complaint gets the place in the file."""
    try:
        return make()
    except SetupError as error:
        raise _fault(config, path, str(error)) from error
    except (ValueError, TypeError) as error:
        raise _fault(config, path, f"{type(error).__name__}: {error}") from error
    except (RuntimeError, MemoryError) as error:  # too large, say
        words = str(error).splitlines() or [type(error).__name__]
        raise _fault(config, path, f"cannot be made: {words[0]}") from error


def _fault(config: Config, path: KeyPath, message: str) -> ConfigError:
    return config.fault(path, message)
