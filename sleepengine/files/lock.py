"""One writer at a time: a folder that a process holds cannot be held by another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sleepengine.errors import FileError

try:
    import fcntl
except ImportError:  # Windows has no such locks on folders
    fcntl = None  # type: ignore[assignment]


@contextmanager
def held(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the folder until the block ends; nothing is written, and a dead process holds nothing.

    Where the file system has no locks nothing is held.

    Raises:
        FileError: another process (or another block of this one) holds it, or there is no folder.
    """
    if fcntl is None:
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as fault:
        raise FileError(f"{os.fspath(folder)}: cannot be opened: {fault.strerror}") from fault
    try:
        with contextlib.suppress(OSError):
            _lock(descriptor, os.fspath(folder))
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(
            f"{folder}: another process is writing this run; wait for it, or stop it first"
        ) from None
