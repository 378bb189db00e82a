"""Pipelines: YAML in, trained and reported runs out; and the data sets and models they know."""

from __future__ import annotations

import importlib
from typing import Any

# Loaded when first used: the command line asks for parts of this package that need no torch.
_HOMES: dict[str, tuple[str, ...]] = {
    "configuration.config": ("Config", "load"),
    "configuration.tables": ("Plugins",),
    "experiments.runner": ("Options",),
    "outcome": ("Outcome", "RunResult"),
    "problems.bundle": ("Data", "Part", "Scaling", "Split", "TensorBatches"),
    "problems.data": ("digits", "mnist_family"),
    "problems.loaders": ("Loaders",),
    "problems.models": ("conv_small", "lenet_300_100", "mlp"),
    "problems.transformer": ("tiny_transformer",),
    "resuming": ("resume",),
    "running": ("run",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from sleepengine.errors import did_you_mean

        hint = "" if name.startswith("_") else f". {did_you_mean(name, __all__)}"
        raise AttributeError(f"module 'sleepengine.pipeline' has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(f"sleepengine.pipeline.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
