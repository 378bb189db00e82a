"""When compaction pays: cost of the moves against the time saved in each step, with hysteresis."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import final


@final
@dataclass
class Payback:
    """Measured medians decide; a try that did not pay is repeated only when more nodes sleep.

    To begin, twice the cost must come back before the masks are expected to change; to stay, the
    cost itself must. The two differ so that noise does not switch back and forth.

    Args:
        clock: seconds.
        steps: how many steps make a median.
        least: the smallest share of a step that counts as a saving.

    >>> times = iter([0.0, 4.0, 8.0, 12.0, 16.0])
    >>> payback = Payback(clock=lambda: next(times), steps=4)
    >>> for _ in range(5): payback.tick(small=False)
    >>> payback.wants(share=0.5, small=False), payback.wants(share=0.01, small=False)
    (True, False)
    """

    clock: Callable[[], float] = time.perf_counter
    steps: int = 5
    least: float = 0.02
    cost: float | None = None  # seconds of both moves, at the last measurement
    _mark: float | None = None
    _full: deque[float] = field(default_factory=deque)
    _small: deque[float] = field(default_factory=deque)
    _since: int = 0  # steps since the masks changed
    _spans: deque[int] = field(default_factory=lambda: deque(maxlen=3))
    _failed: float = 0.0  # share asleep at the last try that did not pay

    def tick(self, small: bool) -> None:
        """A step is over that ran with small or full tensors throughout."""
        now = self.clock()
        if self._mark is not None:
            times = self._small if small else self._full
            times.append(now - self._mark)
            if len(times) > self.steps:
                times.popleft()
        self._mark = now
        self._since += 1

    def moved(self, seconds: float) -> None:
        """Tensors were made small or full: this long it took, and this step is no measure."""
        self.cost = 2 * seconds if self.cost is None else max(self.cost / 2, 2 * seconds)
        self._mark = None

    def interrupted(self) -> None:
        """Something else happened in this step: it is no measure."""
        self._mark = None

    def changed(self) -> None:
        """Other nodes sleep from now on."""
        if self._since:
            self._spans.append(self._since)
        self._since = 0
        self._small.clear()
        self._mark = None

    def wants(self, share: float, small: bool) -> bool:
        """Whether tensors should be small now.

        Args:
            share: of all parameters, how many would go.
            small: whether they are small now.
        """
        if len(self._full) < self.steps:
            return small
        full = median(self._full)
        # Masks that have stood for n steps are expected to stand for n more.
        ahead = max(self._horizon() - self._since, self._since)
        cost = full if self.cost is None else self.cost
        if not small:
            if share <= self._failed + 0.1 * bool(self._failed) or share < self.least:
                return False
            return full * share / 2 * ahead > 2 * cost
        if len(self._small) < self.steps:
            return True
        saving = full - median(self._small)
        if saving < self.least * full or saving * max(self._horizon(), self._since) < cost:
            self._failed = share
            return False
        return True

    def _horizon(self) -> int:
        """Steps for which the masks are expected to stay as they are."""
        return int(median(self._spans)) if self._spans else 100
