"""Which masks held at which step: transactions, laps of the clock, and what was forgotten."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple, final

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.journal.record import Record


@final
class Transaction(NamedTuple):
    """One firing: its number, step and number of records, and the states before and after it.

    `before` differs from the previous `after` when the masks were changed outside the journal.
    """

    number: int
    step: int
    records: int
    before: int
    after: int


@final
class Timeline:
    """Transactions in order, and the state that held at a step.

    A lap is a stretch in which steps never go back. A clock that starts again (a second run of the
    same trainer) begins a new lap, and steps then speak of the latest lap; transactions of the laps
    before keep their numbers.
    """

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        # The newest transaction that was folded away, and the number that began the latest lap.
        self.folded: Transaction | None = None
        self.lap = 0

    def copy(self) -> Timeline:
        """The same timeline, to be extended apart."""
        other = Timeline()
        other.transactions = list(self.transactions)
        other.folded, other.lap = self.folded, self.lap
        return other

    @property
    def last(self) -> Transaction | None:
        """The newest transaction ever, known or folded away."""
        return self.transactions[-1] if self.transactions else self.folded

    @property
    def next_number(self) -> int:
        """The lowest number a new transaction may have."""
        return 0 if self.last is None else self.last.number + 1

    @property
    def first_step(self) -> int:
        """The earliest step whose masks are known; 0 when nothing of the lap was forgotten."""
        if self.folded is None or self.folded.number < self.lap:
            return 0
        return self.folded.step

    def add(self, one: Transaction) -> None:
        """Add a transaction; its number must be `next_number` or above."""
        if self.last is not None and one.step < self.last.step:
            self.lap = one.number
        self.transactions.append(one)

    def fold_oldest(self) -> Transaction:
        """Forget the oldest transaction; returns it."""
        self.folded = self.transactions.pop(0)
        return self.folded

    def in_lap(self) -> list[Transaction]:
        """The known transactions of the latest lap."""
        return self.transactions[self._lap_place() :]

    def lap_start(self) -> int:
        """Position of the earliest known state of the latest lap."""
        return self._state_before(self._lap_place())

    def position_at(self, step: int) -> int:
        """Position of the state after all transactions of the lap up to and with a step.

        Raises:
            SetupError: the step was forgotten, or is no int.
        """
        if type(step) is not int:
            raise SetupError(f"a step is an int, got {step!r}")
        if step < self.first_step:
            raise SetupError(
                f"the masks at step {step} are forgotten; the first step still known is "
                f"{self.first_step}. Keep more records with keep="
            )
        low = self._lap_place()
        place = bisect_right(self.transactions, step, lo=low, key=lambda one: one.step)
        return self._state_before(place)

    def find(self, number: int) -> int:
        """Place of a transaction in `transactions`.

        Raises:
            UnknownNameError: there is no such transaction, or it was forgotten.
        """
        place = bisect_left(self.transactions, number, key=lambda one: one.number)
        if place < len(self.transactions) and self.transactions[place].number == number:
            return place
        if not self.transactions:
            raise UnknownNameError(f"there is no transaction {number!r}; none was recorded yet")
        first, last = self.transactions[0].number, self.transactions[-1].number
        if self.folded is not None and 0 <= number <= self.folded.number:
            raise UnknownNameError(
                f"transaction {number} is forgotten; the first still known is {first}. "
                "Keep more records with keep="
            )
        raise UnknownNameError(f"there is no transaction {number!r}; known are {first} to {last}")

    def _lap_place(self) -> int:
        return bisect_left(self.transactions, self.lap, key=lambda one: one.number)

    def _state_before(self, place: int) -> int:
        """The state that the transaction before this place left."""
        if place > 0:
            return self.transactions[place - 1].after
        return 0 if self.folded is None else self.folded.after


def check_transaction(
    records: Sequence[Record], next_index: int, next_number: int
) -> tuple[int, int]:
    """Number and step that all records of one new transaction share.

    Raises:
        SetupError: no record, records of several transactions or steps, or an index or number out
            of order.
    """
    if not records:
        raise SetupError("a transaction needs at least one record")
    number, step = records[0].transaction, records[0].step
    for place, one in enumerate(records):
        if (one.transaction, one.step) != (number, step):
            raise SetupError(
                f"records of one append share transaction and step: got transaction {number} step "
                f"{step} and transaction {one.transaction} step {one.step}"
            )
        if one.index != next_index + place:
            raise SetupError(
                f"the next record has index {next_index + place}, got {one.index} from rule "
                f"{one.rule!r}"
            )
    if number < next_number:
        raise SetupError(f"transaction numbers must grow: the next is {next_number}, got {number}")
    return number, step
