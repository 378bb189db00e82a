"""Whole-file writes: after a crash at any moment the old file or the new one is there, complete."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path

from sleepengine.errors import FileError

# Tells this process from an earlier one that had the same number, as happens in containers.
_PROCESS = secrets.token_hex(4)
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:32] or "host"


def write(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Temporary file in the same folder, flush, fsync, rename over `path`, fsync the folder.

    The file gets the permissions that the umask gives any new file. A symbolic link is followed.
    Temporary files that dead processes of this machine left for the same path are removed.

    Raises:
        FileError: the disk is full, the folder is missing or read-only; `path` is as it was.
    """
    try:
        target = Path(os.path.realpath(path))
        _remove_litter(target)
        _write(target, chunks)
    except (OSError, ValueError) as fault:
        reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
        raise FileError(
            f"{os.fspath(path)}: the file was not written: {reason}. "
            "A file that was there before is unchanged."
        ) from fault


def _write(target: Path, chunks: Iterable[bytes]) -> None:
    temporary = (
        target.parent / f"{_prefix(target)}{os.getpid()}-{_PROCESS}-{secrets.token_hex(4)}.tmp"
    )
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def is_temporary(name: str) -> bool:
    """Whether a file of that name is one that `write` makes and renames.

    >>> is_temporary(".a.run.host-12-0123abcd-0123abcd.tmp"), is_temporary("a.tmp")
    (True, False)
    """
    return re.fullmatch(r"\..*\.[A-Za-z0-9]+-[0-9]+-[0-9a-f]{8}-[0-9a-f]{8}\.tmp", name) is not None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prefix(target: Path) -> str:
    # Cut, so that the whole name stays below the usual limit of 255 bytes.
    return f".{target.name[:40]}.{_HOST}-"


def _remove_litter(target: Path) -> None:
    pattern = re.compile(re.escape(_prefix(target)) + r"([0-9]+)-([0-9a-f]{8})-[0-9a-f]{8}\.tmp")
    for name in os.listdir(target.parent):
        found = pattern.fullmatch(name)
        if found and not _is_running(int(found[1]), found[2]):
            with contextlib.suppress(OSError):
                os.unlink(target.parent / name)


def _is_running(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _PROCESS
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, under another user
        return True
    return True
