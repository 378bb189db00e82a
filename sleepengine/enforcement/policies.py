"""What is kept of optimizer state while entries sleep, and what they get when they wake."""

from __future__ import annotations

from enum import Enum
from typing import final


@final
class ParkState(Enum):
    """Which optimizer state of inactive entries is kept beside the model.

    NONE: nothing. SECOND: second moments and what else measures scale. ALL: first moments too.
    """

    NONE = 0
    SECOND = 1
    ALL = 2

    def covers(self, other: ParkState) -> bool:
        """True when everything that `other` keeps is kept.

        >>> ParkState.ALL.covers(ParkState.SECOND), ParkState.NONE.covers(ParkState.SECOND)
        (True, False)
        """
        return self.value >= other.value


@final
class StatePolicy(Enum):
    """Optimizer state of entries that become active again.

    ZERO: everything fresh, as before the first step. KEEP: first moments fresh, second moments as
    they were, so that the first updates are no larger than the learning rate. PARKED: everything
    as it was.
    """

    ZERO = "zero"
    KEEP = "keep"
    PARKED = "parked"

    @property
    def needs(self) -> ParkState:
        """What must have been parked for this policy.

        >>> StatePolicy.KEEP.needs
        <ParkState.SECOND: 1>
        """
        return _NEEDS[self]


_NEEDS = {
    StatePolicy.ZERO: ParkState.NONE,
    StatePolicy.KEEP: ParkState.SECOND,
    StatePolicy.PARKED: ParkState.ALL,
}
