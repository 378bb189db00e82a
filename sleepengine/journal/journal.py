"""The journal: every action of the engine, and the masks as they were at any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final, overload

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.journal.compare import asleep_since, changed_share
from sleepengine.journal.frames import bits_of, store_of
from sleepengine.journal.history import History, JournalSize
from sleepengine.journal.record import Record
from sleepengine.journal.replay import Replay
from sleepengine.journal.saved import Parts, read_parts, write_parts
from sleepengine.journal.timeline import Timeline, Transaction, check_transaction
from sleepengine.masks.store import MaskStore


@final
class Journal:
    """Append-only: what was done, when, why and to how many, with the masks at every step.

    Masks are kept as compressed differences with a keyframe every `keyframe_every` states, so that
    any step costs at most that many differences. Beyond `keep` records the oldest transactions are
    folded into the first keyframe (the newest transaction always stays whole). Stores that come
    back live on the CPU; `store.adopt(...)` brings their masks to the parameters' devices.

    When the clock goes back (a second run of the same trainer), steps speak of the latest run and
    earlier ones are found by transaction.

    Args:
        shapes: parameter name -> shape, as in the mask store.
        keep: records to keep, or None for all.
        keyframe_every: states between two keyframes.

    Raises:
        SetupError: `keep` or `keyframe_every` is not an int of at least 1.

    >>> from sleepengine.masks.choice import Choice
    >>> store = MaskStore({"w": torch.Size([4])})
    >>> journal = Journal({"w": torch.Size([4])})
    >>> journal.begin(store)
    >>> before = store.fork()
    >>> slept = store.sleep(Choice({"w": torch.tensor([True, True, False, False])}))
    >>> record = Record(0, 0, 100, 1.0, "prune", "Sleep", "once('100it')", 2, fraction=0.5)
    >>> journal.append([record], before, store)
    >>> [journal.masks_at(step).fraction() for step in (99, 100)], journal.churn(99, 100)
    ([0.0, 0.5], 0.5)
    >>> print(journal[0])
    #0 step 100 (epoch 1) prune: Sleep changed 2, 0.5 asleep; why: once('100it')
    """

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        *,
        keep: int | None = 10_000,
        keyframe_every: int = 64,
    ) -> None:
        if keep is not None and (type(keep) is not int or keep < 1):
            raise SetupError(f"keep must be an int of at least 1, or None for all, got {keep!r}")
        if type(keyframe_every) is not int or keyframe_every < 1:
            raise SetupError(f"keyframe_every must be an int of at least 1, got {keyframe_every!r}")
        self._shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self._keep = keep
        self._every = keyframe_every
        self._nothing = MaskStore(self._shapes)
        self._begun = False
        self._next_index = 0
        self._records: list[Record] = []
        self._timeline = Timeline()
        self._history = History(self._shapes, keyframe_every)

    # --- writing -------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """True once the masks before the first transaction are known."""
        return self._begun

    @property
    def next_index(self) -> int:
        """The index that the next record must have."""
        return self._next_index

    @property
    def next_transaction(self) -> int:
        """The lowest number that the next transaction may have."""
        return self._timeline.next_number

    def begin(self, store: MaskStore) -> None:
        """Note the masks before the first transaction.

        Raises:
            SetupError: the journal has begun, or the store has other shapes.
        """
        if self._begun:
            raise SetupError("the journal has begun already; ask `begun` first")
        self._history.start(bits_of(store, self._nothing))
        self._begun = True

    def append(self, records: Sequence[Record], before: MaskStore, after: MaskStore) -> None:
        """Add one transaction: its records, and the masks before and after it.

        Masks that were changed outside the journal since the last transaction show in
        `masks_before`. Costs time in the tensors touched when the stores are forks of each other.

        Raises:
            SetupError: no record, records of several transactions or steps, an index or number
                out of order, or a store of other shapes. Nothing was added.
        """
        number, step = check_transaction(records, self._next_index, self.next_transaction)
        old, new = bits_of(before, self._nothing), bits_of(after, self._nothing)
        if not self._begun:
            self.begin(before)
        start = self._history.push(old)
        one = Transaction(number, step, len(records), start, self._history.push(new))
        self._timeline.add(one)
        self._records.extend(records)
        self._next_index += len(records)
        self._fold()

    # --- masks ---------------------------------------------------------------------------------

    def masks_at(self, step: int) -> MaskStore:
        """Masks after all transactions up to and with a step.

        Raises:
            SetupError: the journal has not begun, or the step was forgotten.
        """
        return self._store(self._position(step))

    def masks_before(self, transaction: int) -> MaskStore:
        """Masks that a transaction found: adopting them undoes it and all that followed.

        Raises:
            UnknownNameError: there is no such transaction, or it was forgotten.
        """
        return self._store(self._find(transaction).before)

    def masks_after(self, transaction: int) -> MaskStore:
        """Masks that a transaction left; raises as `masks_before`."""
        return self._store(self._find(transaction).after)

    def churn(self, a: int, b: int) -> float:
        """Entries asleep or frozen at one of two steps and not at the other / all entries."""
        return changed_share(self.masks_at(a), self.masks_at(b))

    def asleep_since(self, name: str, step: int) -> Tensor:
        """int64 tensor of the parameter's shape: step of falling asleep, -1 where awake at `step`.

        Entries that slept when the known part begins get the first step known.
        """
        return asleep_since(Replay(self), name, step)

    # --- records -------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Records kept."""
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records))

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        return self._records[place]

    def last(self) -> Record | None:
        """The newest record; None of an empty journal."""
        return self._records[-1] if self._records else None

    def transaction(self, number: int) -> list[Record]:
        """The records of one transaction; raises as `masks_before`."""
        self._find(number)
        return [one for one in self._records if one.transaction == number]

    def for_rule(self, name: str) -> list[Record]:
        """The records of one rule; empty when it never fired."""
        return [one for one in self._records if one.rule == name]

    def between(self, a: int, b: int) -> list[Record]:
        """The records with a <= step <= b."""
        return [one for one in self._records if a <= one.step <= b]

    def to_rows(self) -> list[dict[str, Any]]:
        """Every record as a plain dict, for JSON lines."""
        return [one.row() for one in self._records]

    def size(self) -> JournalSize:
        """What is kept at present."""
        return self._history.size(len(self._records), len(self._timeline.transactions))

    # --- replay and state ----------------------------------------------------------------------

    def plan(self) -> list[tuple[int, MaskStore]]:
        """(step, masks to set after it), for each step at which something was done."""
        return list(Replay(self))

    def parts(self) -> Parts:
        """What the journal is made of, to be read or extended apart.

        Raises:
            SetupError: the journal has not begun.
        """
        self._check_begun()
        return Parts(self._next_index, list(self._records), self._timeline, self._history).copy()

    def state_dict(self) -> dict[str, Any]:
        """Records, transactions and masks: plain values and tensors only."""
        parts = Parts(self._next_index, self._records, self._timeline, self._history)
        return write_parts(parts, self._begun, self._shapes)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace everything by a saved state, after all of it was checked.

        `keep` and `keyframe_every` stay this journal's own; records beyond `keep` are folded.

        Raises:
            StateError: a part is missing, damaged or does not fit; nothing was changed.
        """
        parts, begun = read_parts(state, self._shapes, self._every)
        self._begun, self._next_index, self._records = begun, parts.next_index, parts.records
        self._timeline, self._history = parts.timeline, parts.history
        self._fold()

    # --- inside --------------------------------------------------------------------------------

    def _fold(self) -> None:
        """Forget the oldest transactions while more than `keep` records are held."""
        if self._keep is None:
            return
        while len(self._records) > self._keep and len(self._timeline.transactions) > 1:
            oldest = self._timeline.fold_oldest()
            del self._records[: oldest.records]
            self._history.fold(oldest.after)

    def _position(self, step: int) -> int:
        self._check_begun()
        return self._timeline.position_at(step)

    def _find(self, number: int) -> Transaction:
        return self._timeline.transactions[self._timeline.find(number)]

    def _store(self, position: int) -> MaskStore:
        return store_of(self._history.at(position), self._shapes)

    def _check_begun(self) -> None:
        if not self._begun:
            raise SetupError("the journal has not begun: call begin(store) before the first step")
