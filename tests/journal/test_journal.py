from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.journal import Journal, Record, Replay
from sleepengine.masks.choice import Kind, Layer
from sleepengine.masks.store import MaskStore

SIZES = {"a": (3, 3), "b": (17,), "c": (2, 4)}


@st.composite
def changes(draw: st.DrawFn) -> tuple:
    name = draw(st.sampled_from(sorted(SIZES)))
    numel = torch.Size(SIZES[name]).numel()
    bits = draw(st.integers(0, 2**numel - 1))
    mask = torch.tensor([bool(bits >> i & 1) for i in range(numel)]).view(SIZES[name])
    kind, layer = draw(st.sampled_from(list(Kind))), draw(st.sampled_from(list(Layer)))
    return kind, layer, draw(st.booleans()), name, mask


transactions = st.lists(
    st.tuples(
        st.integers(0, 3),  # steps since the last
        st.lists(changes(), max_size=4),
        st.integers(1, 3),  # rules
        st.lists(changes(), max_size=1),  # changes behind the journal's back, before it
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(
    plan=transactions,
    keep=st.none() | st.integers(1, 12),
    every=st.integers(1, 5),
    reload_at=st.integers(0, 14),
)
def test_every_state_is_known_or_said_to_be_forgotten(
    driven: Any, same_masks: Any, plan: list, keep: int | None, every: int, reload_at: int
) -> None:
    run = driven(keep, every)
    step = 0
    for place, (gap, todo, rules, outside) in enumerate(plan):
        if place == reload_at:
            fresh = Journal(SIZES, keep=keep, keyframe_every=every)
            fresh.load_state_dict(run.journal.state_dict())
            run.journal = fresh
        for one in outside:
            run.change(*one)
        step += gap
        run.act(step, todo, rules)
    journal = run.journal
    kept = {one.transaction for one in journal}
    known = [state for state in run.states if state[0] in kept]
    newest = len(journal.transaction(known[-1][0])) if known else 0
    assert keep is None or len(journal) <= max(keep, newest)
    for number, _, before, after in known:
        assert same_masks(journal.masks_before(number), before)
        assert same_masks(journal.masks_after(number), after)
    for number, *_ in run.states[: len(run.states) - len(known)]:
        with pytest.raises(UnknownNameError, match=f"transaction {number} is forgotten"):
            journal.masks_after(number)

    folded = run.states[: len(run.states) - len(known)]
    first = folded[-1][1] if folded else 0
    start = MaskStore({name: torch.Size(size) for name, size in SIZES.items()})
    for at in range(first, step + 2):
        done = [state for state in run.states if state[1] <= at]
        expected = done[-1][3] if done else None
        store = journal.masks_at(at)
        assert same_masks(store, expected) if done else store.digest() == start.digest()
    for at in range(first):
        with pytest.raises(SetupError, match=f"the first step still known is {first}"):
            journal.masks_at(at)

    replay = Replay(journal)
    assert replay.steps() == sorted({state[1] for state in known})
    for (at, store), (same_at, target) in zip(replay, journal.plan(), strict=True):
        assert at == same_at
        assert store.digest() == target.digest() == journal.masks_at(at).digest()


def test_before_anything_happened(driven: Any) -> None:
    journal = Journal(SIZES)
    assert (len(journal), journal.last(), list(journal), journal.begun) == (0, None, [], False)
    with pytest.raises(SetupError, match="has not begun: call begin"):
        journal.masks_at(0)
    with pytest.raises(SetupError, match="has not begun"):
        journal.plan()
    with pytest.raises(UnknownNameError, match="no transaction 0; none was recorded yet"):
        journal.masks_before(0)
    run = driven()
    assert run.journal.masks_at(1000).fraction() == 0.0
    with pytest.raises(SetupError, match="has begun already"):
        run.journal.begin(run.store)


def test_the_masks_at_the_start_are_kept(driven: Any) -> None:
    run = driven()
    run.sleep(5, "b", [0, 1])
    journal = Journal(SIZES)
    journal.begin(run.store)
    assert journal.masks_at(0).asleep_count("b") == 2
    late = Journal(SIZES)
    before = run.store.fork()
    run.sleep(6, "b", [2])
    record = Record(0, 0, 6, None, "r", "Sleep", "", 1)
    late.append([record], before, run.store)
    assert [late.masks_at(step).asleep_count("b") for step in (5, 6)] == [2, 3]


def test_reading_records(driven: Any) -> None:
    run = driven()
    for step in (10, 20, 20, 30):
        run.sleep(step, "b", [step // 10], rules=2)
    journal = run.journal
    assert len(journal) == 8
    assert [one.index for one in journal] == list(range(8))
    assert [one.index for one in journal[2:4]] == [2, 3]
    assert journal[-1] == journal.last()
    assert [one.transaction for one in journal.for_rule("rule1")] == [0, 1, 2, 3]
    assert journal.for_rule("nobody") == []
    assert [one.index for one in journal.between(11, 20)] == [2, 3, 4, 5]
    assert [one.index for one in journal.transaction(2)] == [4, 5]
    assert journal.to_rows()[3] == journal[3].row()
    with pytest.raises(UnknownNameError, match="no transaction 4; known are 0 to 3"):
        journal.transaction(4)


def test_undo_is_adopting_the_masks_before(driven: Any) -> None:
    run = driven()
    run.sleep(1, "a", [0])
    run.sleep(2, "a", [1, 2])
    changes = run.store.adopt(run.journal.masks_before(1))
    assert changes.woke["a"].view(-1).nonzero().view(-1).tolist() == [1, 2]
    assert run.store.asleep_count() == 1


def test_churn_counts_what_differs(driven: Any) -> None:
    run = driven()
    run.sleep(1, "b", [0, 1, 2])
    mask = torch.zeros(17, dtype=torch.bool)
    mask[2:4] = True
    run.act(
        2,
        [
            (Kind.ASLEEP, Layer.WEIGHTS, False, "b", mask),  # entry 2 wakes
            (Kind.FROZEN, Layer.NODES, True, "b", mask),  # entries 2 and 3 freeze
        ],
    )
    total = 9 + 17 + 8
    assert run.journal.churn(0, 1) == 3 / total
    assert run.journal.churn(1, 2) == run.journal.churn(2, 1) == 2 / total
    assert run.journal.churn(0, 2) == 4 / total
    assert run.journal.churn(2, 2) == 0.0


def test_asleep_since(driven: Any) -> None:
    run = driven(keep=2)
    run.sleep(10, "c", [0, 1])
    run.sleep(20, "c", [2])
    journal = run.journal
    assert journal.asleep_since("c", 9).tolist() == [[-1] * 4] * 2
    assert journal.asleep_since("c", 20).tolist() == [[10, 10, 20, -1], [-1] * 4]
    mask = torch.tensor([[True, False, False, False], [False] * 4])
    run.act(30, [(Kind.ASLEEP, Layer.WEIGHTS, False, "c", mask)])
    run.sleep(40, "c", [0, 7])
    assert journal.asleep_since("c", 40).tolist() == [[40, 20, 20, -1], [-1, -1, -1, 40]]
    assert journal.asleep_since("b", 40).tolist() == [-1] * 17
    with pytest.raises(SetupError, match="first step still known is 20"):
        journal.asleep_since("c", 19)
    with pytest.raises(UnknownNameError, match="'d'"):
        journal.asleep_since("d", 40)


def test_a_clock_that_starts_again(driven: Any) -> None:
    run = driven()
    for place, step in enumerate([10, 20, 5, 15]):
        run.sleep(step, "b", [place])
    journal = run.journal
    # Steps speak of the second run, which found two entries asleep.
    at = {step: journal.masks_at(step).asleep_count() for step in (0, 4, 5, 14, 15, 99)}
    assert at == {0: 2, 4: 2, 5: 3, 14: 3, 15: 4, 99: 4}
    assert [journal.masks_after(number).asleep_count() for number in range(4)] == [1, 2, 3, 4]
    replay = Replay(journal)
    assert (replay.steps(), replay.start().asleep_count(), len(replay)) == ([5, 15], 2, 2)


def test_what_append_refuses(driven: Any) -> None:
    run = driven()
    run.sleep(10, "a", [0])
    good = run.journal.last()
    assert good is not None

    def record(index: int, transaction: int, step: int) -> Record:
        return Record(index, transaction, step, None, "late", "Sleep", "", 0)

    table = [
        ([], "at least one record"),
        ([record(1, 1, 5), record(2, 2, 5)], "transaction 1 step 5 and transaction 2 step 5"),
        ([record(1, 1, 5), record(2, 1, 6)], "transaction 1 step 5 and transaction 1 step 6"),
        ([record(2, 1, 20)], "the next record has index 1, got 2 from rule 'late'"),
        ([record(1, 0, 20)], "numbers must grow: the next is 1, got 0"),
    ]
    state = run.journal.state_dict()["sha256"]
    for records, message in table:
        with pytest.raises(SetupError, match=message):
            run.journal.append(records, run.store, run.store)
    with pytest.raises(SetupError, match="stores differ"):
        run.journal.append([record(1, 1, 20)], MaskStore({"z": torch.Size([1])}), run.store)
    with pytest.raises(SetupError, match="stores differ"):
        run.journal.append([record(1, 1, 20)], run.store, MaskStore({"z": torch.Size([1])}))
    assert run.journal.state_dict()["sha256"] == state


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "all"])
def test_bad_bounds(value: Any) -> None:
    with pytest.raises(SetupError, match="keep must be an int of at least 1, or None"):
        Journal(SIZES, keep=value)
    with pytest.raises(SetupError, match="keyframe_every must be an int of at least 1"):
        Journal(SIZES, keyframe_every=value)


def test_a_step_is_an_int(driven: Any) -> None:
    with pytest.raises(SetupError, match=r"a step is an int, got 1\.5"):
        driven().journal.masks_at(1.5)
