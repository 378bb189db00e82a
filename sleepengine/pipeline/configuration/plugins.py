"""A user's own module, named on the command line: its SCORERS, MODELS and DATA."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from sleepengine.errors import SetupError
from sleepengine.pipeline.configuration.tables import Plugins

TABLES = ("SCORERS", "MODELS", "DATA")


def load_plugins(names: Sequence[str]) -> Plugins:
    """The tables of several modules together; a name is a path to a .py file or a module's name.

    Modules are looked for in the current folder too. Only what the user names here is ever run: no
    configuration and no file of a run can name a module.

    Raises:
        SetupError: a module cannot be imported, has no table, or repeats a name.
    """
    found: dict[str, dict[str, Callable[..., Any]]] = {table: {} for table in TABLES}
    for name in names:
        module = _module(name)
        tables = {table: getattr(module, table) for table in TABLES if hasattr(module, table)}
        if not tables:
            raise SetupError(f"plug-in {name!r} defines none of {', '.join(TABLES)}")
        for table, entries in tables.items():
            if not isinstance(entries, Mapping):
                raise SetupError(f"plug-in {name!r}: {table} must be a dict of names")
            twice = found[table].keys() & entries.keys()
            if twice:
                raise SetupError(f"plug-in {name!r}: {table} has {sorted(twice)[0]!r} once more")
            found[table].update(entries)
    return Plugins(scorers=found["SCORERS"], models=found["MODELS"], data=found["DATA"])


def _module(name: str) -> ModuleType:
    try:
        return _from_file(Path(name)) if name.endswith(".py") else _by_name(name)
    except Exception as fault:
        raise SetupError(
            f"plug-in {name!r} cannot be imported: {type(fault).__name__}: {fault}"
        ) from fault


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SetupError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"sleepengine_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SetupError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _by_name(name: str) -> ModuleType:
    # The console script, unlike `python -m`, does not look in the current folder.
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)
