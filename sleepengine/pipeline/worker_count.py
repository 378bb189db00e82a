"""How many processes a run is worth."""

from __future__ import annotations

import os

WORTH_STEPS = 20_000
"""Steps of all networks together below which starting processes costs more than it saves."""
MOST = 8


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not say
        return os.cpu_count() or 1


def worth(seeds: int, steps: int, available: int) -> int:
    """One process per seed, at most one per core and 8 in all; one for a short run.

    `steps`: of all networks together. The lines and masks of a run do not depend on it.

    >>> worth(seeds=5, steps=62_100, available=2), worth(seeds=3, steps=2040, available=16)
    (2, 1)
    """
    return 1 if steps < WORTH_STEPS else max(1, min(seeds, available, MOST))
