"""Named masks in a checked file."""

from __future__ import annotations

import os

from sleepengine.errors import FileError, StateError
from sleepengine.files import container
from sleepengine.masks.mask_sets import MaskSets

_KIND = "mask sets"


def save_masks(path: str | os.PathLike[str], sets: MaskSets) -> None:
    """Save named masks, all or nothing, as they are kept: differences, packed and compressed.

    Raises:
        FileError: the file cannot be written; an older one is unchanged.
    """
    container.write(path, sets.state_dict(), kind=_KIND)


def load_masks(path: str | os.PathLike[str]) -> MaskSets:
    """The named masks of a file.

    Raises:
        FileError: the file cannot be read, is damaged, or holds something else.

    >>> import tempfile, torch
    >>> sets = MaskSets()
    >>> sets["a"] = {"w": torch.tensor([True, False])}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_masks(f"{folder}/tasks.masks", sets)
    ...     load_masks(f"{folder}/tasks.masks")["a"]["w"]
    tensor([ True, False])
    """
    try:
        return MaskSets.from_state(container.read(path, kind=_KIND))
    except StateError as fault:
        raise FileError(f"{os.fspath(path)}: {fault}") from fault
