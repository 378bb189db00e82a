"""The random states of a process: Python's, NumPy's and PyTorch's, as plain values and tensors.

A run draws from PyTorch's alone; a model, a scorer or a data set of the user's may draw from any.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from sleepengine.errors import StateError

_NUMPY_SEEDS = 2**32


def seed(number: int) -> None:
    """Begin all three anew; a function of the number alone."""
    random.seed(number)
    np.random.seed(number % _NUMPY_SEEDS)
    torch.manual_seed(number)


def state() -> dict[str, Any]:
    """All three as they are."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "words": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "place": int(place),
            "has_gauss": int(has_gauss),
            "gauss": float(cached),
        },
    }


def load(saved: Mapping[str, Any]) -> None:
    """Continue exactly there.

    Raises:
        StateError: it is no such state; then nothing was changed.
    """
    before = state()
    try:
        _load(saved)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError, OverflowError) as e:
        _load(before)
        raise StateError(f"the saved random state is damaged: {e!r}") from e


@contextmanager
def kept() -> Iterator[None]:
    """After the block all three are as they were before it."""
    before = state()
    try:
        yield
    finally:
        _load(before)


def _load(saved: Mapping[str, Any]) -> None:
    python, numpy = saved["python"], saved["numpy"]
    words = tuple(int(word) for word in python["words"].tolist())
    random.setstate((python["version"], words, python["gauss"]))
    keys = numpy["words"].numpy().astype(np.uint32)
    # NumPy takes any place, and one beyond the words would read memory that is not theirs.
    if type(numpy["place"]) is not int or not 0 <= numpy["place"] <= len(keys):
        raise ValueError(f"place {numpy['place']!r} is not among the {len(keys)} words")
    np.random.set_state((numpy["name"], keys, numpy["place"], numpy["has_gauss"], numpy["gauss"]))
    torch.set_rng_state(saved["torch"])
