"""The masks of a network in a run folder, read and checked."""

from __future__ import annotations

from pathlib import Path

import torch

from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.masks.store import MaskStore


def load_masks(path: Path) -> MaskStore:
    """The masks in a file: names, shapes, bits and their counts.

    Raises:
        FileError: the file is damaged or holds something else.
    """
    state = container.read(path, kind="masks")
    try:
        store = MaskStore({name: torch.Size(shape) for name, shape in state["shapes"].items()})
        store.load_state_dict(state)
    except (
        ArithmeticError, LookupError, TypeError, AttributeError, ValueError, RuntimeError,
    ) as error:  # fmt: skip
        raise FileError(f"{path}: these are not masks: {error}.") from error
    return store
