"""The records of a transaction, from what its rules did to how the masks stand after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sleepengine.actions.live import Live
from sleepengine.firing.picking import Picked
from sleepengine.journal import Journal, Record, TensorCounts
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore
from sleepengine.rules.rule import Rule
from sleepengine.rules.timekeeper import Timekeeper


class Records:
    """Drafts while a transaction runs; finished, with place and counts, once it is done.

    scope: the parameters of which the journal tells the share asleep.
    """

    def __init__(
        self, live: Live, time: Timekeeper, journal: Journal, scope: Sequence[str]
    ) -> None:
        self._live = live
        self._time = time
        self._journal = journal
        self._scope = scope

    def draft(self, rule: Rule, picked: Picked, done: Choice) -> Record:
        """What one rule did."""
        why = rule.why
        if picked.threshold is not None:
            why += f", last score {picked.threshold:.6g}"
        note = "survivors were moved to make up for it" if picked.update else ""
        if rule.what.chooses and done.is_empty():
            note = "nothing to do: at or past the target"
        return self.record(rule.name, str(rule.what), why, done, note)

    def record(self, name: str, action: str, why: str, done: Choice, note: str = "") -> Record:
        """What was done under a name."""
        counts = done.counts()
        return Record(
            index=0,
            transaction=0,
            step=self._time.iteration,
            epoch=self._time.epoch,
            rule=name,
            action=action,
            why=why,
            changed=sum(counts.values()),
            tensors={
                n: TensorCounts(k, 0, 0, self._live.store.numel(n)) for n, k in counts.items()
            },
            note=note,
        )

    def undone(self, before: MaskStore, note: str) -> Record:
        """What an undo changed: the weights that sleep, wake, freeze or thaw by it."""
        changed = Choice.empty()
        for choice in before.fork().adopt(self._live.store):
            changed = changed.union(choice)
        return self.record("undo", "Undo", "asked for", changed, note)

    def from_outside(self, name: str, changes: Mapping[str, Choice]) -> list[Record]:
        """One draft for each kind of change to masks that were set from outside."""
        return [
            self.record(name, kind, "masks set from outside", choice)
            for kind, choice in changes.items()
            if not choice.is_empty()
        ]

    def append(self, drafts: Sequence[Record], before: MaskStore) -> list[Record]:
        """Add the drafts to the journal, as one transaction; returns them as they stand there."""
        if not drafts:
            return []
        if not self._journal.begun:
            self._journal.begin(before)
        finished = self._finished(drafts)
        self._journal.append(finished, before, self._live.store)
        return finished

    def _finished(self, drafts: Sequence[Record]) -> list[Record]:
        """The drafts with their place in the journal and the counts after the transaction."""
        store = self._live.store
        total = sum(store.numel(name) for name in self._scope)
        asleep = sum(store.asleep_count(name) for name in self._scope)
        share = asleep / total if total else 0.0
        return [
            replace(
                draft,
                index=self._journal.next_index + place,
                transaction=self._journal.next_transaction,
                fraction=share,
                tensors={
                    n: replace(c, asleep=store.asleep_count(n), frozen=store.frozen_count(n))
                    for n, c in draft.tensors.items()
                },
            )
            for place, draft in enumerate(drafts)
        ]
