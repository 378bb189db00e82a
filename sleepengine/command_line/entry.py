"""Where a process begins: Ctrl-C ends it without a traceback, whatever is being loaded."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def entry() -> NoReturn:
    """Carry out the command line of this process and end with its exit code."""
    # An exception raised by a signal could come up in a destructor or in the middle of an import,
    # where Python prints it and goes on. What is worth saving is saved by handlers of its own.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else: nohup, or a debugger
        signal.signal(signal.SIGINT, _leave)
    from sleepengine.command_line.cli import main

    sys.exit(main())


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
