"""What surrounds the work of a run: threads, random state, Ctrl-C, and the status in run.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

import torch

from sleepengine.errors import FileError
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.training import random_state
from sleepengine.pipeline.training.interrupts import Interrupts


def now() -> str:
    """The time as run.json writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextmanager
def session(folder: RunFolder, threads: int, seconds: Callable[[], float]) -> Iterator[Interrupts]:
    """Note how the work inside ends: finished (then the checkpoint goes), interrupted or failed."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with random_state.kept(), Interrupts() as interrupts:
            folder.note(status="running", finished=None)
            yield interrupts
    except BaseException as fault:
        status = "interrupted" if isinstance(fault, KeyboardInterrupt) else "failed"
        # A full disk may be what failed: then the status stays as it is.
        with suppress(FileError):
            folder.note(status=status, seconds=seconds())
        raise
    finally:
        torch.set_num_threads(before)
    folder.finish(finished=now(), seconds=seconds())
