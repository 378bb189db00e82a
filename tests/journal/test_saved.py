from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
import torch

from sleepengine.errors import StateError
from sleepengine.journal import Journal
from sleepengine.journal import saved as saved_module
from sleepengine.masks.choice import Kind, Layer

SHAPES = {"a": (3, 3), "b": (17,), "c": (2, 4)}


def full(driven: Any, keep: int | None = 5) -> Any:
    run = driven(keep, keyframe_every=2)
    for step in range(8):
        run.sleep(step, "b", [step, 16 - step])
    frozen = torch.eye(3, dtype=torch.bool)
    run.act(9, [(Kind.FROZEN, Layer.NODES, True, "a", frozen)])
    return run


def test_the_state_is_plain_and_survives_a_safe_load(driven: Any) -> None:
    run = full(driven)
    buffer = io.BytesIO()
    torch.save(run.journal.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    plain = {k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}
    state = {**json.loads(json.dumps(plain)), **{k: state[k] for k in state if k not in plain}}
    other = Journal(SHAPES, keep=5, keyframe_every=2)
    other.load_state_dict(state)
    assert list(other) == list(run.journal)
    assert other.size() == run.journal.size()
    for step in range(4, 11):
        assert other.masks_at(step).digest() == run.journal.masks_at(step).digest()
    assert other.state_dict()["sha256"] == run.journal.state_dict()["sha256"]


def test_it_goes_on_as_if_uninterrupted(driven: Any) -> None:
    run, broken = full(driven), full(driven)
    fresh = Journal(SHAPES, keep=5, keyframe_every=2)
    fresh.load_state_dict(broken.journal.state_dict())
    broken.journal = fresh
    for step in range(10, 20):
        run.sleep(step, "c", [step % 8])
        broken.sleep(step, "c", [step % 8])
    assert run.journal.to_rows() == broken.journal.to_rows()
    for step in range(14, 20):
        assert run.journal.masks_at(step).digest() == broken.journal.masks_at(step).digest()


def test_an_unused_journal_comes_back(driven: Any) -> None:
    other = full(driven).journal
    other.load_state_dict(Journal(SHAPES).state_dict())
    assert (len(other), other.begun, other.next_index) == (0, False, 0)


def test_the_bounds_are_those_of_the_reader(driven: Any) -> None:
    state = full(driven, keep=None).journal.state_dict()
    small = Journal(SHAPES, keep=2, keyframe_every=7)
    small.load_state_dict(state)
    assert (len(small), small[0].step, small.size().deltas) == (2, 7, 2)
    assert small.masks_at(6).asleep_count() == 14


def test_reading_and_going_on_leave_the_state_alone(driven: Any) -> None:
    run = full(driven)
    state = run.journal.state_dict()
    kept = copy.deepcopy(state)
    run.journal.load_state_dict(state)
    run.sleep(30, "c", [0])
    assert saved_module._digest(state) == saved_module._digest(kept) == state["sha256"]


def _set(key: str, value: object) -> Any:
    return lambda state: state.update({key: value})


def _flip(key: str) -> Any:
    def damage(state: dict[str, Any]) -> None:
        state[key] = state[key].clone()
        state[key].view(-1)[-1] += 1

    return damage


DAMAGE = {
    "no part": (lambda s: s.pop("table"), r"missing \['table'\]"),
    "a part too many": (_set("mood", 1), r"unknown \['mood'\]"),
    "a later format": (_set("format", 2), "has format 2, this reads 1"),
    "a name": (lambda s: s["shapes"].pop("a"), r"missing \['a'\]"),
    "a shape": (lambda s: s["shapes"].update(a=[9]), "'a' has shape"),
    "a dtype": (lambda s: s.update(table=s["table"].float()), "table .* torch.int64"),
    "no tensor": (_set("streams", b"x"), "streams .* must be a tensor of torch.uint8"),
    "a byte of a mask": (_flip("streams"), "damaged: its sha256"),
    "a row of the table": (_flip("table"), "damaged: its sha256"),
    "a size": (_flip("sizes"), "damaged: its sha256"),
    "a record": (lambda s: s["records"][0].update(changed=7), "damaged: its sha256"),
    "an object": (_set("records", [object()]), "more than plain values"),
}

# The same, with the sum made to fit: a writer that went wrong.
FORGED = {
    "begun": (_set("begun", 1), "begun .* must be a bool, got 1"),
    "a record": (lambda s: s["records"][0].update(changed=-7), "changed must be an int"),
    "a record less": (lambda s: s["records"].pop(), "do not fit its transactions"),
    "an index": (_set("next_index", 99), "not numbered in order"),
    "a number": (lambda s: s["transactions"][1].__setitem__(0, 0), "out of order"),
    "a state": (lambda s: s["transactions"][-1].__setitem__(4, 99), "out of order"),
    "a short row": (lambda s: s["transactions"][0].pop(), "does not hold together"),
    "a plane": (lambda s: s["planes"][0].__setitem__(0, "dead"), "does not hold together"),
    "an owner": (lambda s: s["planes"][0].__setitem__(2, "z"), "masks of unknown 'z'"),
    "a length": (lambda s: s["planes"][0].__setitem__(2, "a"), "do not hold 2 bytes"),
    "a frame": (_flip("table"), "does not hold together"),
    "a stream": (_flip("sizes"), "do not fit its states"),
    "a stream's bytes": (
        lambda s: s.update(streams=torch.zeros_like(s["streams"])),
        "are damaged",
    ),
    "keyframes": (_set("keyframes", []), "does not hold together|do not fit"),
    "records": (_set("records", 3), "does not hold together"),
    "the next index": (_set("next_index", "9"), "does not hold together"),
    "the lap": (_set("lap", None), "lap .* must be an int"),
    "base": (_set("base", 0), "do not fit its states|out of order"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_refused_and_nothing_applied(driven: Any, what: str) -> None:
    damage, message = DAMAGE[what]
    run = full(driven)
    state = full(driven).journal.state_dict()
    damage(state)
    before = run.journal.state_dict()["sha256"]
    with pytest.raises(StateError, match=message):
        run.journal.load_state_dict(state)
    assert run.journal.state_dict()["sha256"] == before


@pytest.mark.parametrize("what", FORGED)
def test_a_state_that_does_not_hold_together(driven: Any, what: str) -> None:
    damage, message = FORGED[what]
    run = full(driven)
    state = full(driven).journal.state_dict()
    damage(state)
    state["sha256"] = saved_module._digest(state)
    before = run.journal.state_dict()["sha256"]
    with pytest.raises(StateError, match=message):
        run.journal.load_state_dict(state)
    assert run.journal.state_dict()["sha256"] == before


def test_a_state_that_is_no_dict(driven: Any) -> None:
    with pytest.raises(StateError, match="must be a dict, got list"):
        driven().journal.load_state_dict([1])
