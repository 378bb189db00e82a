"""Pipelines: YAML in, trained and reported runs out."""

from __future__ import annotations

import importlib
from typing import Any

# Loaded when first used: the command line asks for parts of this package that need no torch.
_HOMES = {
    "Config": "configuration.config",
    "load": "configuration.config",
    "resume": "resuming",
    "run": "running",
}

__all__ = ["Config", "load", "resume", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sleepengine.pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sleepengine.pipeline.{_HOMES[name]}"), name)
