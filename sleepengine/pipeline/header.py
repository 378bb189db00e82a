"""What run.json says of a run before it begins."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import ignite
import torch
from torch import nn

from sleepengine.errors import FileError
from sleepengine.pipeline.experiments.table import arms_of
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.problems.dataset import Part
from sleepengine.pipeline.training.network import Network

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "status": str,
    "config_sha256": str,
    "seeds": list,
    "seconds": (int, float),
    "data": dict,
    "model": dict,
    "versions": dict,
}


def versions() -> dict[str, str]:
    """Of this library and of those whose results it repeats."""
    try:
        own = metadata.version("sleepengine")
    except metadata.PackageNotFoundError:  # used from a source tree
        own = "unknown"
    return {
        "sleepengine": own,
        "torch": str(torch.__version__),
        "ignite": str(ignite.__version__),
        "python": platform.python_version(),
    }


def header(parts: Parts, network: Network, started: str) -> Mapping[str, Any]:
    """The entries of run.json; `network` is any network of the run."""
    config = parts.config
    return {
        "name": config.name,
        "experiment": config.experiment,
        "status": "running",
        "started": started,
        "finished": None,
        "seconds": 0.0,
        "seeds": list(config.seeds),
        "arms": list(arms_of(config)),
        **facts(parts, network),
        "versions": versions(),
        "config_sha256": digest(config.text),
        "device": "cpu",
    }


def facts(parts: Parts, network: Network) -> dict[str, dict[str, Any]]:
    """What is said of data and model."""
    data = parts.data
    return {
        "data": {
            "name": data.name,
            **{part.value: len(data.split(part)) for part in Part},
            "input_shape": list(data.input_shape),
            "classes": data.classes,
        },
        "model": {
            "name": model_name(parts),
            "parameters": sum(p.numel() for p in network.model.parameters()),
            "maskable": network.maskable,
        },
    }


def model_name(parts: Parts) -> str:
    """The name of the model in the configuration, or of what was given instead."""
    given = parts.given.model
    if given is None:
        return parts.config.model.name
    if isinstance(given, nn.Module):
        return type(given).__name__
    return str(getattr(given, "__name__", type(given).__name__))


def digest(text: str) -> str:
    """sha256 of a configuration."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def check(meta: Mapping[str, Any], path: Path) -> None:
    """The entries that a run is resumed by are there, each of its kind.

    Raises:
        FileError: one is not; the message begins with the path.
    """
    for name, kind in _KINDS.items():
        if not isinstance(meta.get(name), kind):
            raise FileError(f"{path} is damaged: {name} is {meta.get(name)!r}")
    if not all(type(seed) is int for seed in meta["seeds"]):
        raise FileError(f"{path} is damaged: seeds are {meta['seeds']!r}")
