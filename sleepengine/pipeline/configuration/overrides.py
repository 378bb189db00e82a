"""Settings of the command line, `train.length=1ep`, written into what a file says."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from sleepengine.errors import ConfigError, did_you_mean
from sleepengine.files import strict_yaml
from sleepengine.files.yaml_document import Document, KeyPath
from sleepengine.pipeline.configuration.located import Source


def applied(document: Document, overrides: Sequence[str]) -> Source:
    """The document's data with each `path=value` set; a value is read as YAML.

    A path is keys joined by dots, with positions in lists from 0: `rules.0.who.amount.to=0.5`.
    Mappings that are not there yet are made; lists grow by nothing.

    Raises:
        ConfigError: no such place, or the value is no YAML.
    """
    data = copy.deepcopy(document.data)
    settings: dict[KeyPath, str] = {}
    for text in overrides:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"--set {text}: write path=value, as train.length=1ep")
        said = f"--set {text}"
        parsed = strict_yaml.load(value, said).data
        data, path = _set(data, name.strip().split("."), parsed, said)
        settings[path] = said
    return Source(document, data, settings)


def _set(data: Any, keys: Sequence[str], value: Any, said: str) -> tuple[Any, KeyPath]:
    """`data` with `value` at the end of `keys`, and the path that this is."""
    if data is None:
        data = {}
    here: Any = data
    path: tuple[str | int, ...] = ()
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        place = _place(here, key, ".".join(keys[:depth]), said)
        path = (*path, place)
        if last:
            here[place] = value
        elif isinstance(here, dict) and here.get(place) is None:
            here[place] = {}
        here = here[place]
    return data, path


def _place(here: Any, key: str, before: str, said: str) -> str | int:
    where = before or "the file"
    if isinstance(here, dict):
        return key
    if not isinstance(here, list):
        raise ConfigError(
            f"{said}: {where} is {here!r}, which holds nothing by name; set all of it instead"
        )
    if not key.isascii() or not key.isdigit() or int(key) >= len(here):
        valid = [str(i) for i in range(len(here))]
        raise ConfigError(f"{said}: {where} is a list of {len(here)}. {did_you_mean(key, valid)}")
    return int(key)
