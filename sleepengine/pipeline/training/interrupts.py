"""Ctrl-C that waits: the step that runs is finished and saved before a run stops."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, final


@final
class Interrupts:
    """While entered, the first SIGINT or SIGTERM only sets `asked`; the second stops at once.

    Outside the main thread Python gives signals to others, so there nothing is caught.

    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGINT)
    ...     interrupts.asked
    True
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
