"""Folding, keyframes, and memory that stays flat."""

from __future__ import annotations

import gc
import sys
from types import FunctionType, ModuleType
from typing import Any

import pytest
import torch

from sleepengine.errors import SetupError
from sleepengine.journal import Journal, Record
from sleepengine.journal import history as history_module
from sleepengine.journal.frames import xor_frame
from sleepengine.masks.choice import Choice
from sleepengine.masks.store import MaskStore


@pytest.mark.parametrize(
    ("keep", "left", "first"),
    [(None, 9, 0), (9, 9, 0), (8, 8, 1), (7, 7, 2), (4, 4, 5), (2, 2, 7), (1, 1, 8)],
)
def test_the_oldest_are_folded(driven: Any, keep: int | None, left: int, first: int) -> None:
    run = driven(keep, keyframe_every=4)
    for step in range(1, 10):
        run.sleep(step, "b", [step])
    journal = run.journal
    assert (len(journal), journal[0].index, journal.next_index) == (left, 9 - left, 9)
    assert journal.masks_at(first).asleep_count() == first
    assert [journal.masks_at(s).asleep_count() for s in range(first, 11)] == [
        *range(first, 10),
        9,
    ]
    if first:
        with pytest.raises(
            SetupError, match=f"step {first - 1} are forgotten; the first step still known is"
        ):
            journal.masks_at(first - 1)


def test_a_transaction_is_never_cut(driven: Any) -> None:
    run = driven(keep=4)
    run.sleep(1, "b", [1], rules=3)
    run.sleep(2, "b", [2], rules=3)
    assert [one.index for one in run.journal] == [3, 4, 5]
    run.sleep(3, "b", [3], rules=9)
    assert len(run.journal) == 9
    assert run.journal.masks_before(2).asleep_count() == 2


def test_a_lap_that_is_half_forgotten(driven: Any) -> None:
    run = driven(keep=1)
    for place, step in enumerate([10, 20, 5]):
        run.sleep(step, "b", [place])
    # Both transactions of the first lap are folded: the second lap is known from its start.
    assert [run.journal.masks_at(step).asleep_count() for step in (0, 4, 5)] == [2, 2, 3]
    run.sleep(8, "b", [9])
    with pytest.raises(SetupError, match="step 4 are forgotten; the first step still known is 5"):
        run.journal.masks_at(4)
    assert [run.journal.masks_at(step).asleep_count() for step in (5, 8)] == [3, 4]


@pytest.mark.parametrize("every", [1, 2, 5, 64])
@pytest.mark.parametrize("keep", [None, 23])
def test_a_state_costs_at_most_keyframe_every_differences(
    driven: Any, monkeypatch: pytest.MonkeyPatch, every: int, keep: int | None
) -> None:
    run = driven(keep, every)
    for step in range(40):
        run.sleep(step, "b", [step % 17])
        run.store.wake(Choice({"b": torch.ones(17, dtype=torch.bool)}))
    frames = 0

    def counted(*args: Any) -> None:
        nonlocal frames
        frames += 1
        xor_frame(*args)

    monkeypatch.setattr(history_module, "xor_frame", counted)
    for step in range(20, 40):
        frames = 0
        run.journal.masks_at(step)
        assert 1 <= frames <= every + 1


def test_untouched_tensors_are_neither_compared_nor_compressed(
    driven: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = driven(keyframe_every=2)
    run.sleep(1, "a", [0])
    run.sleep(2, "b", [0])
    packed = []
    compress = history_module.compress
    monkeypatch.setattr(
        history_module, "compress", lambda bits: packed.append(bits.numel()) or compress(bits)
    )
    for step in range(3, 9):
        run.sleep(step, "c", [step - 2])
    # Six differences and three keyframes, of the one byte of "c" alone.
    assert packed == [1] * 9
    assert run.journal.masks_at(8).asleep_count() == 8


def test_sparse_differences_are_small() -> None:
    shapes = {"w": torch.Size([1000, 1000])}
    store, journal = MaskStore(shapes), Journal(shapes)
    journal.begin(store)
    for step in range(10):
        before = store.fork()
        mask = torch.zeros(shapes["w"], dtype=torch.bool)
        mask[step, :100] = True
        store.sleep(Choice({"w": mask}))
        journal.append([Record(step, step, step, None, "r", "Sleep", "", 100)], before, store)
    assert journal.size().deltas == 10
    assert journal.size().nbytes < 10 * 125_000 / 100


def test_nothing_changed_keeps_no_difference(driven: Any) -> None:
    run = driven()
    run.sleep(1, "a", [0])
    run.sleep(2, "a", [0])
    assert run.journal.size()[:3] == (2, 2, 1)
    assert run.journal.masks_after(1).asleep_count() == 1


def held(*roots: object) -> tuple[int, int]:
    """How many objects these hold, directly or not, and their bytes with those of tensors.

    Whatever else is alive in the process (other tests, caches of libraries) does not count.
    """
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen[id(one)] = one
        waiting += gc.get_referents(one)
    tensors = [one for one in seen.values() if isinstance(one, torch.Tensor)]
    storage = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    return len(seen), storage + sum(map(sys.getsizeof, seen.values()))


def ours() -> list[object]:
    """What the modules of journal and masks keep: a cache there would be a leak too."""
    names = ("sleepengine.journal", "sleepengine.masks", "sleepengine.files")
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(names)]
    return [value for module in modules for key, value in vars(module).items() if key[:2] != "__"]


def test_what_is_held_is_counted() -> None:
    shapes = {"w": torch.Size([16])}
    journal, store = Journal(shapes), MaskStore(shapes)
    journal.begin(store)
    before = held(journal)
    for i in range(5):
        journal.append([Record(i, i, i, None, "r", "Sleep", "why", 2)], store, store)
    after = held(journal)
    assert 5 <= after[0] - before[0] <= 100
    assert after[1] - before[1] >= 5 * sys.getsizeof(journal[0])


def test_memory_stays_flat_over_many_transactions() -> None:
    shapes = {"w": torch.Size([16])}
    journal = Journal(shapes, keep=1000)
    stores = []
    for place in range(7):
        store = MaskStore(shapes)
        store.sleep(Choice({"w": torch.arange(16) % 7 == place}))
        stores.append(store)
    journal.begin(stores[0])

    def drive(until: int) -> tuple[int, int]:
        for i in range(journal.next_index, until):
            record = Record(i, i, i, None, "r", "Sleep", "why", 2)
            journal.append([record], stores[i % 7], stores[(i + 1) % 7])
        return held(journal, *ours())

    early_objects, early_bytes = drive(3000)
    early = journal.size()
    late_objects, late_bytes = drive(20_000)
    late = journal.size()
    assert (late.records, late.transactions, late.deltas) == (1000, 1000, 1000)
    assert abs(late.keyframes - early.keyframes) <= 1
    assert abs(late.nbytes - early.nbytes) <= 100
    assert abs(late_objects - early_objects) <= 50  # of 17,000 transactions
    assert abs(late_bytes - early_bytes) <= 5000
    assert journal.masks_at(19_999).digest() == stores[20_000 % 7].digest()
    assert journal.masks_at(18_999).digest() == stores[19_000 % 7].digest()
