"""One line of the journal: which rule did what, when, why, and to how many entries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, final

from sleepengine.errors import SetupError, StateError

_SHOWN_TENSORS = 3


@final
@dataclass(frozen=True)
class TensorCounts:
    """0 <= changed, asleep, frozen <= total: entries of one tensor after an action.

    Args:
        changed: entries that the rule changed.
        asleep: entries asleep afterwards, on any layer.
        frozen: entries frozen afterwards, on any layer.
        total: entries of the tensor.

    Raises:
        SetupError: a count is not an int, or lies outside 0..total.

    >>> TensorCounts(changed=2, asleep=3, frozen=0, total=8).row()
    {'changed': 2, 'asleep': 3, 'frozen': 0, 'total': 8}
    """

    changed: int
    asleep: int
    frozen: int
    total: int

    def __post_init__(self) -> None:
        _check_count("total", self.total)
        for name in ("changed", "asleep", "frozen"):
            value = getattr(self, name)
            _check_count(name, value)
            if value > self.total:
                raise SetupError(f"{name} must be at most total={self.total}, got {value}")

    def row(self) -> dict[str, int]:
        """The counts as a plain dict."""
        return {
            "changed": self.changed,
            "asleep": self.asleep,
            "frozen": self.frozen,
            "total": self.total,
        }


@final
@dataclass(frozen=True)
class Record:
    """One rule's action in one transaction; rules that fire together share the transaction.

    Args:
        index: place in the journal, counted from the first record ever.
        transaction: number of the firing.
        step: completed steps when it happened.
        epoch: completed epochs, or None when unknown.
        rule: name of the rule, or of the direct call.
        action: name of the action, such as "Sleep".
        why: trigger, scorer, pools, amount, threshold, as text.
        changed: entries that this rule changed, before the rules of the transaction are netted.
        tensors: parameter name -> counts afterwards.
        fraction: share of entries asleep afterwards, 0 to 1.
        note: what else should be known.

    Raises:
        SetupError: a field has the wrong type or lies out of range.

    >>> counts = TensorCounts(changed=2, asleep=4, frozen=0, total=8)
    >>> print(Record(7, 3, 300, 1.5, "gradual", "Sleep", "every('100it')", 2, {"w": counts}, 0.5))
    #7 step 300 (epoch 1.5) gradual: Sleep changed 2 of 8, 0.5 asleep; w 2; why: every('100it')
    """

    index: int
    transaction: int
    step: int
    epoch: float | None
    rule: str
    action: str
    why: str
    changed: int
    tensors: Mapping[str, TensorCounts] = field(default_factory=dict)
    fraction: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("index", "transaction", "step", "changed"):
            _check_count(name, getattr(self, name))
        for name in ("rule", "action", "why", "note"):
            if not isinstance(getattr(self, name), str):
                raise SetupError(f"{name} must be a str, got {getattr(self, name)!r}")
        for name, counts in self.tensors.items():
            if not isinstance(name, str) or not isinstance(counts, TensorCounts):
                raise SetupError(
                    f"tensors must map names to TensorCounts, got {name!r}: {counts!r}"
                )
        # A copy, so that the record stays what it was when the caller's dict changes.
        object.__setattr__(self, "tensors", dict(self.tensors))
        object.__setattr__(self, "fraction", _as_float("fraction", self.fraction))
        if self.fraction > 1.0:
            raise SetupError(f"fraction is a share from 0 to 1, got {self.fraction!r}")
        if self.epoch is not None:
            object.__setattr__(self, "epoch", _as_float("epoch", self.epoch))

    def row(self) -> dict[str, Any]:
        """The record as a plain dict that JSON can hold; `from_row` is its inverse."""
        row = {one.name: getattr(self, one.name) for one in fields(self)}
        row["tensors"] = {name: counts.row() for name, counts in self.tensors.items()}
        return row

    @classmethod
    def from_row(cls, row: object) -> Record:
        """The record of a plain dict.

        Raises:
            StateError: a key is missing or unknown, or a value does not fit.
        """
        values = _exactly(row, [one.name for one in fields(cls)], "a record")
        if not isinstance(values["tensors"], Mapping):
            raise StateError(f"the tensors of a record must be a dict, got {values['tensors']!r}")
        names = [one.name for one in fields(TensorCounts)]
        try:
            values["tensors"] = {
                name: TensorCounts(**_exactly(counts, names, f"the counts of {name!r}"))
                for name, counts in values["tensors"].items()
            }
            return cls(**values)
        except SetupError as error:
            raise StateError(f"record {values['index']!r}: {error}") from None

    def __str__(self) -> str:
        epoch = "" if self.epoch is None else f" (epoch {self.epoch:.10g})"
        total = sum(counts.total for counts in self.tensors.values())
        of = f" of {total}" if self.tensors else ""
        parts = [f"{self.action} changed {self.changed}{of}, {self.fraction:.4g} asleep"]
        if self.tensors:
            parts.append(self._shown_tensors())
        if self.why:
            parts.append(f"why: {' '.join(self.why.split())}")
        if self.note:
            parts.append(f"note: {' '.join(self.note.split())}")
        return f"#{self.index} step {self.step}{epoch} {self.rule}: {'; '.join(parts)}"

    def _shown_tensors(self) -> str:
        """The most changed tensors; ties keep their order."""
        ranked = sorted(self.tensors.items(), key=lambda item: -item[1].changed)
        shown = ", ".join(f"{name} {counts.changed}" for name, counts in ranked[:_SHOWN_TENSORS])
        more = len(ranked) - _SHOWN_TENSORS
        return f"{shown} and {more} more" if more > 0 else shown


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise SetupError(f"{name} must be an int of at least 0, got {value!r}")


def _as_float(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SetupError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise SetupError(f"{name} must be a finite number of at least 0, got {value!r}")
    return float(value)


def _exactly(row: object, names: list[str], what: str) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise StateError(f"{what} must be a dict, got {type(row).__name__}")
    missing = [name for name in names if name not in row]
    unknown = [name for name in row if name not in names]
    if missing or unknown:
        raise StateError(f"{what} must have keys {names}: missing {missing}, unknown {unknown}")
    return dict(row)
