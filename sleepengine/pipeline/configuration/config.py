"""A configuration that has been checked: everything in it can be built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import PrivateAttr, ValidationError

from schedules import Clock
from sleepengine.errors import ConfigError, SleepError
from sleepengine.files import strict_yaml
from sleepengine.files.yaml_document import KeyPath
from sleepengine.pipeline.configuration import faults, overrides
from sleepengine.pipeline.configuration.fields import Spec
from sleepengine.pipeline.configuration.located import Mistakes, Source
from sleepengine.pipeline.configuration.reading import Reader
from sleepengine.pipeline.configuration.schema import json_schema
from sleepengine.pipeline.configuration.sections import check_experiment, check_mask_training
from sleepengine.pipeline.configuration.structure import Structure
from sleepengine.pipeline.configuration.tables import LEVEL_RULE, RULE, Plugins, Tables, tables
from sleepengine.pipeline.training.lr import schedule_of
from sleepengine.rules.rule import Rule

CURVE_POINTS = 20

__all__ = ["Config", "Plugins", "Spec", "json_schema", "load"]


class Config(Structure):
    """A checked configuration; `pipeline.build` makes things from it.

    Attributes beside the keys of the file: `text`, the YAML it stands for (with settings of the
    command line written in), `source`, where it was read, and `plain`, its data as they stand.
    Two configurations are equal when they say the same.
    """

    _source: Source = PrivateAttr()
    _tables: Tables = PrivateAttr()
    _text: str = PrivateAttr()

    @property
    def text(self) -> str:
        """YAML that loads back equal: the file byte for byte where nothing was set from outside."""
        return self._text

    @property
    def source(self) -> str:
        """The file's name."""
        return self._source.document.name

    @property
    def plain(self) -> dict[str, Any]:
        """The data as the file writes them."""
        data: dict[str, Any] = self._source.data
        return data

    def dump(self) -> str:
        """Canonical YAML that loads back equal."""
        return strict_yaml.dump({**self.plain, "name": self.name})

    def reader(self) -> tuple[Reader, Mistakes]:
        """What builds things from the plain data, and where it notes mistakes."""
        mistakes = Mistakes(self._source)
        return Reader(self._tables, mistakes), mistakes

    def fault(self, path: KeyPath, message: str) -> ConfigError:
        """An error that starts with the place of the value at `path`."""
        return ConfigError(f"{self._source.place(path)}: {message}")

    @property
    def tables(self) -> Tables:
        """The names that the file may use."""
        return self._tables

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        if not isinstance(other, Config):
            return NotImplemented
        return (self.name, _unnamed(self.plain)) == (other.name, _unnamed(other.plain))

    __hash__ = None  # type: ignore[assignment]


def load(
    path_or_text: str | Path,
    *,
    plugins: Plugins | None = None,
    overrides: Sequence[str] = (),
    own_model: bool = False,
) -> Config:
    r"""The configuration in a file, or in YAML text (text is what holds a line break).

    Args:
        path_or_text: a path, or the YAML itself.
        plugins: the user's own scorers, models and data sets.
        overrides: settings such as "train.length=1ep", checked like the file.
        own_model: whether `model:` may be missing, for a run that is given a model of yours.

    Raises:
        ConfigError: every mistake, one per line as `file:line:column: message`.

    >>> config = load("model: {mlp: {sizes: [8]}}\ntrain: {length: 2ep}\n")
    >>> config.model.name, str(config.train.length), config.seeds
    ('mlp', '2ep', (0,))
    >>> load("modell: lenet_300_100\ntrain: {length: 10}\n")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sleepengine.errors.ConfigError: <text>:1:1: needs 'model': A model and its arguments; ...
    <text>:1:1: unknown key 'modell'. Did you mean 'model'? Valid: ...
    <text>:2:17: train.length: 10 has no unit; write '10it' or '10ep'.
    """
    source, text = _read(path_or_text, overrides)
    mistakes = Mistakes(source)
    if not isinstance(source.data, dict):
        mistakes.add((), "a configuration is a mapping; the least it needs is model: and train:")
        mistakes.report()
    stem = "config" if source.document.name == "<text>" else Path(source.document.name).stem
    config: Config | None = None
    try:
        missing = {"name": stem, "model": "own"} if own_model else {"name": stem}
        config = Config.model_validate({**missing, **source.data})
    except ValidationError as error:
        faults.note(error, Config, mistakes)
    names = tables(plugins)
    check_experiment(source.data, mistakes)
    _check_calls(source.data, Reader(names, mistakes), mistakes)
    check_mask_training(source.data, Reader(names, mistakes))
    mistakes.report()
    if config is None:
        raise ConfigError(f"{source.document.name}: the configuration cannot be read")
    config._source, config._tables, config._text = source, names, text
    return config


def _read(path_or_text: str | Path, settings: Sequence[str]) -> tuple[Source, str]:
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        document, text = strict_yaml.load(path_or_text, "<text>"), path_or_text
    else:
        document = strict_yaml.load_file(path_or_text)
        text = Path(path_or_text).read_bytes().decode("utf-8")
    source = overrides.applied(document, settings)
    return source, strict_yaml.dump(source.data) if settings else text


def _check_calls(data: dict[str, Any], reader: Reader, mistakes: Mistakes) -> None:
    """Build once all that can be built without data, so that every mistake has a line."""
    names = reader.tables
    if "data" in data:
        reader.call(names.data, data["data"], ("data",))
    if "model" in data:
        call = reader.call(names.models, data["model"], ("model",))
        if call is not None and call.entry.sample is not None:
            with torch.device("meta"):  # shapes alone: a file may ask for any size
                reader.made(call, call.entry.sample)
    train = data.get("train")
    if isinstance(train, dict):
        _check_optimizer(train, reader)
    for i, rule in enumerate(_list(data.get("rules"))):
        _check_curve(reader.record(RULE, rule, ("rules", i)), ("rules", i), mistakes)
    lottery = data.get("lottery")
    if isinstance(lottery, dict):
        for i, rule in enumerate(_list(lottery.get("each_level"))):
            path = ("lottery", "each_level", i)
            _check_curve(reader.record(LEVEL_RULE, rule, path), path, mistakes)


def _check_curve(rule: Any, path: KeyPath, mistakes: Mistakes) -> None:
    """An amount must be a share at every moment of its curve."""
    if not isinstance(rule, Rule) or rule.who is None or rule.who.amount is None:
        return
    try:
        for i in range(CURVE_POINTS + 1):
            rule.who.amount.at(i / CURVE_POINTS)
    except (ValueError, SleepError) as error:
        mistakes.add((*path, "who", "amount"), str(error))


def _check_optimizer(train: dict[str, Any], reader: Reader) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer: Any = torch.optim.SGD([weight], lr=0.1)
    path: KeyPath = ("train", "optimizer")
    if "optimizer" in train:
        made = reader.build(reader.tables.optimizers, train["optimizer"], path, params=[weight])
        optimizer = made if isinstance(made, torch.optim.Optimizer) else optimizer
    if train.get("lr_schedule") is not None:
        path = ("train", "lr_schedule")
        call = reader.call(reader.tables.lr_schedules, train["lr_schedule"], path)
        if call is not None:
            clock = Clock(steps_per_epoch=1000, total_steps=1_000_000)
            reader.attempt(call, lambda: schedule_of(call, optimizer, clock))


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else []


def _unnamed(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "name"}
