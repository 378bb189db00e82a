import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.masks.choice import Choice
from sleepengine.masks.snapshots import MaskSnapshot, iou
from sleepengine.masks.store import MaskStore

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@given(PAIRS)
@settings(max_examples=60, deadline=None)
def test_algebra_is_that_of_sets_of_awake_entries(pairs):
    a, b = (torch.tensor(side) for side in zip(*pairs, strict=True))
    one, two = MaskSnapshot({"w": a}), MaskSnapshot({"w": b})
    assert torch.equal((one | two)["w"], a | b)
    assert torch.equal((one & two)["w"], a & b)
    assert torch.equal((one - two)["w"], a & ~b)
    assert torch.equal((~one)["w"], ~a)
    assert ~~one == one
    assert one.counts() == {"w": int(a.sum())}
    assert one.fraction() == int((~a).sum()) / len(a)
    either = int((a | b).sum())
    assert iou(one, two) == (int((a & b).sum()) / either if either else 1.0)


def test_a_snapshot_of_a_store_does_not_change_with_it():
    store = MaskStore({"u": torch.Size([2]), "v": torch.Size([2])})
    store.sleep(Choice({"u": torch.tensor([True, False])}))
    kept = store.snapshot("now")
    store.wake(Choice({"u": torch.tensor([True, False])}))
    assert kept["u"].tolist() == [False, True]
    assert kept["v"].tolist() == [True, True]
    assert (kept.fraction(), kept.fraction("u"), kept.fraction("v")) == (0.25, 0.5, 0.0)
    assert store.sleep(kept.asleep()).counts() == {"u": 1}


def test_different_tensors_are_refused():
    a = MaskSnapshot({"w": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(SetupError, match=r"differ at 'w': shape \(2,\) and \(3,\)"):
        a | MaskSnapshot({"w": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(SetupError, match="differ at 'v': shape none and"):
        iou(a, MaskSnapshot({**a, "v": torch.ones(3, dtype=torch.bool)}))
    with pytest.raises(SetupError, match=r"'w' needs a bool tensor, got torch\.float32"):
        MaskSnapshot({"w": torch.ones(2)})
    with pytest.raises(UnknownNameError, match="Did you mean 'w'"):
        a["W1w"]
