"""What run.json says of a run before it begins."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import ignite
import torch
from torch import nn

from sleepengine.pipeline.experiments.table import arms_of
from sleepengine.pipeline.parts import Parts
from sleepengine.pipeline.training.network import Network


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
    config, data = parts.config, parts.data
    return {
        "name": config.name,
        "experiment": config.experiment,
        "status": "running",
        "started": started,
        "finished": None,
        "seconds": 0.0,
        "seeds": list(config.seeds),
        "arms": list(arms_of(config)),
        "data": {
            "name": data.name,
            "train": len(data.train),
            "valid": len(data.valid),
            "test": len(data.test),
            "input_shape": list(data.input_shape),
            "classes": data.classes,
        },
        "model": {
            "name": model_name(parts),
            "parameters": sum(p.numel() for p in network.model.parameters()),
            "maskable": network.maskable,
        },
        "versions": versions(),
        "config_sha256": digest(config.text),
        "device": "cpu",
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
