"""How much of each torture test runs: a little in the normal suite, all of it by `make torture`.

SLEEPENGINE_TORTURE=1 is the full scale, 0.1 a tenth of it; unset is the normal suite.
"""

from __future__ import annotations

import os

SHARE: float | None = (
    float(os.environ["SLEEPENGINE_TORTURE"]) if "SLEEPENGINE_TORTURE" in os.environ else None
)


def scaled(few: int, full: int) -> int:
    """`few` in the normal suite, else the asked-for share of `full`."""
    return few if SHARE is None else max(few, round(full * SHARE))
