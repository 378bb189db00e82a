"""The masks of a journal, step by step, to be set again elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

from torch import Tensor

from sleepengine.journal.frames import store_of
from sleepengine.masks.store import MaskStore

if TYPE_CHECKING:
    from sleepengine.journal.journal import Journal


@final
class Replay:
    """(step, masks after it) for every step of the latest lap at which something was done.

    It keeps what the journal held when it was made. An engine elsewhere adopts `start()` before its
    first step and `masks(step)` after each of `steps()`.

    Args:
        journal: where the masks come from.

    Raises:
        SetupError: the journal has not begun.

    >>> import torch
    >>> from sleepengine.journal import Journal, Record
    >>> from sleepengine.masks.choice import Choice
    >>> store = MaskStore({"w": torch.Size([4])})
    >>> journal = Journal({"w": torch.Size([4])})
    >>> for number, step in enumerate([10, 20]):
    ...     before = store.fork()
    ...     _ = store.sleep(Choice({"w": torch.arange(4) == number}))
    ...     record = Record(number, number, step, None, "prune", "Sleep", "", 1)
    ...     journal.append([record], before, store)
    >>> replay = Replay(journal)
    >>> replay.steps(), [masks.fraction() for _, masks in replay], replay.start().fraction()
    ([10, 20], [0.25, 0.5], 0.0)
    """

    def __init__(self, journal: Journal) -> None:
        parts = journal.parts()
        self._timeline, self._history = parts.timeline, parts.history
        self._shapes = parts.history.shapes
        # The state after the last transaction of each step, in the order of the steps.
        self._positions = {one.step: one.after for one in parts.timeline.in_lap()}

    @property
    def first_step(self) -> int:
        """The earliest step whose masks are known."""
        return self._timeline.first_step

    def steps(self) -> list[int]:
        """The steps at which something was done, ascending."""
        return list(self._positions)

    def start(self) -> MaskStore:
        """The masks before the first of the steps."""
        return store_of(self._history.at(self._timeline.lap_start()), self._shapes)

    def masks(self, step: int) -> MaskStore:
        """The masks after a step.

        Raises:
            SetupError: the step was forgotten.
        """
        return store_of(self._history.at(self._timeline.position_at(step)), self._shapes)

    def asleep(self, name: str) -> Iterator[tuple[int, Tensor | None]]:
        """(step, packed bits asleep after it) of one parameter: the start, then every step."""
        here = self._timeline.lap_start()
        bits = self._history.at(here, name)
        yield self.first_step, store_of(bits, self._shapes).asleep_bits(name)
        for step, position in self._positions.items():
            self._history.advance(bits, here, position, name)
            here = position
            yield step, store_of(bits, self._shapes).asleep_bits(name)

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[tuple[int, MaskStore]]:
        """Every step with its masks, each rebuilt from the one before."""
        here = self._timeline.lap_start()
        bits = self._history.at(here)
        for step, position in self._positions.items():
            self._history.advance(bits, here, position)
            here = position
            yield step, store_of(bits, self._shapes)
