from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from sleepengine.errors import SetupError, StateError
from sleepengine.journal import Record, TensorCounts

COUNTS = {
    "fc1.weight": TensorCounts(changed=30, asleep=45, frozen=2, total=90),
    "fc2.weight": TensorCounts(changed=6, asleep=6, frozen=0, total=10),
}
WHY = "every('100it', after='1ep'); Magnitude(); PerTensor(); to(0.5); threshold 0.031"
FULL = Record(12, 4, 300, 3.0, "gradual", "Sleep", WHY, 36, COUNTS, 0.51)
BARE = Record(0, 0, 0, None, "rewind", "Rewind", "", 0)


def test_one_readable_line() -> None:
    assert str(FULL) == (
        "#12 step 300 (epoch 3) gradual: Sleep changed 36 of 100, 0.51 asleep; "
        "fc1.weight 30, fc2.weight 6; why: every('100it', after='1ep'); Magnitude(); PerTensor(); "
        "to(0.5); threshold 0.031"
    )


def test_a_line_leaves_out_what_is_not_known() -> None:
    assert str(BARE) == "#0 step 0 rewind: Rewind changed 0, 0 asleep"


def test_a_line_stays_one_line_and_short() -> None:
    counts = {f"w{i}": TensorCounts(i, i, 0, 10) for i in range(5)}
    record = Record(
        1, 1, 1234567, 1234567.0, "r", "Wake", "a\n  b", 10, counts, 1 / 3, "past the target"
    )
    assert str(record) == (
        "#1 step 1234567 (epoch 1234567) r: Wake changed 10 of 50, 0.3333 asleep; "
        "w4 4, w3 3, w2 2 and 2 more; why: a b; note: past the target"
    )


def test_row_is_plain_and_comes_back() -> None:
    row = FULL.row()
    assert row["tensors"]["fc1.weight"] == {"changed": 30, "asleep": 45, "frozen": 2, "total": 90}
    assert list(row) == [one.name for one in dataclasses.fields(Record)]
    assert Record.from_row(json.loads(json.dumps(row))) == FULL
    assert Record.from_row(BARE.row()) == BARE


def test_a_record_does_not_follow_the_callers_dict() -> None:
    mine = dict(COUNTS)
    record = Record(0, 0, 0, None, "r", "Sleep", "", 0, mine)
    mine.clear()
    assert list(record.tensors) == ["fc1.weight", "fc2.weight"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("index", -1, "index must be an int of at least 0, got -1"),
        ("step", 1.0, "step must be an int of at least 0, got 1.0"),
        ("transaction", True, "transaction must be an int of at least 0, got True"),
        ("changed", None, "changed must be an int of at least 0, got None"),
        ("epoch", float("nan"), "epoch must be a finite number of at least 0, got nan"),
        ("epoch", "3", "epoch must be a number, got '3'"),
        ("fraction", 1.5, "fraction is a share from 0 to 1, got 1.5"),
        ("fraction", -0.1, "fraction must be a finite number of at least 0"),
        ("rule", None, "rule must be a str, got None"),
        ("tensors", {"w": 3}, "tensors must map names to TensorCounts, got 'w': 3"),
    ],
)
def test_a_wrong_field(field: str, value: object, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        dataclasses.replace(BARE, **{field: value})


def test_counts_fit_their_tensor() -> None:
    with pytest.raises(SetupError, match="asleep must be at most total=4, got 5"):
        TensorCounts(changed=0, asleep=5, frozen=0, total=4)
    with pytest.raises(SetupError, match=r"total must be an int of at least 0, got 4\.0"):
        TensorCounts(changed=0, asleep=0, frozen=0, total=4.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: row.pop("why"), r"missing \['why'\]"),
        (lambda row: row.update(colour="red"), r"unknown \['colour'\]"),
        (lambda row: row.update(tensors=[]), "the tensors of a record must be a dict"),
        (lambda row: row.update(step="3"), "record 12: step must be an int"),
        (lambda row: row["tensors"]["fc1.weight"].pop("total"), "counts of 'fc1.weight'"),
        (lambda row: row["tensors"]["fc1.weight"].update(asleep=91), "at most total=90, got 91"),
    ],
)
def test_a_damaged_row(damage: Any, message: str) -> None:
    row = FULL.row()
    damage(row)
    with pytest.raises(StateError, match=message):
        Record.from_row(row)


def test_a_row_that_is_no_dict() -> None:
    with pytest.raises(StateError, match="a record must be a dict, got list"):
        Record.from_row([1, 2])
