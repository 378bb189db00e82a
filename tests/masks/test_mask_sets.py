"""Sets of named masks against sets of Python, their size, and files."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sleepengine as se
from sleepengine.errors import FileError, SetupError, StateError, UnknownNameError
from sleepengine.files import container
from sleepengine.masks.choice import Choice, Layer

SHAPES = {"a": (3, 3), "b": (4,)}
BITS = st.lists(st.booleans(), min_size=13, max_size=13)


def mask(bits: list[bool]) -> dict[str, torch.Tensor]:
    flat = torch.tensor(bits)
    return {"a": flat[:9].view(3, 3), "b": flat[9:]}


def members(snapshot: se.MaskSnapshot) -> set[int]:
    flat = torch.cat([snapshot["a"].flatten(), snapshot["b"]])
    return set(flat.nonzero().flatten().tolist())


@settings(deadline=None)
@given(st.lists(BITS, min_size=2, max_size=5))
def test_algebra_is_that_of_sets(many):
    sets = se.MaskSets()
    for i, bits in enumerate(many):
        sets[f"m{i}"] = mask(bits)
    plain = [{i for i, bit in enumerate(bits) if bit} for bits in many]
    assert [members(sets[name]) for name in sets] == plain
    assert members(sets.union()) == set.union(*plain)
    assert members(sets.intersection()) == set.intersection(*plain)
    assert members(sets.union("m0", "m1")) == plain[0] | plain[1]
    assert members(sets.intersection("m0", "m1")) == plain[0] & plain[1]
    assert members(sets.difference("m0", "m1")) == plain[0] - plain[1]
    assert members(sets.complement("m0")) == set(range(13)) - plain[0]
    either = plain[0] | plain[1]
    assert sets.iou("m0", "m1") == (len(plain[0] & plain[1]) / len(either) if either else 1.0)
    assert sets.awake_shares("m1")["b"] == sum(i >= 9 for i in plain[1]) / 4
    others, every = set.union(*plain[1:]), {i for i in set.union(*plain) if i >= 9}
    shared = {i for i in plain[0] & others if i >= 9}
    assert sets.shared("m0")["b"] == (len(shared) / len(every) if every else 0.0)
    apart = {i for i in either if i >= 9}
    both = {i for i in plain[0] & plain[1] if i >= 9}
    assert sets.iou_by_parameter("m0", "m1")["b"] == (len(both) / len(apart) if apart else 1.0)


@settings(deadline=None, max_examples=50)
@given(st.lists(BITS, min_size=3, max_size=6), st.data())
def test_dropping_and_replacing_leaves_the_others_alone(many, data):
    sets, plain = se.MaskSets(SHAPES), {}
    for i, bits in enumerate(many):
        sets[f"m{i}"] = mask(bits)
        plain[f"m{i}"] = {i for i, bit in enumerate(bits) if bit}
    for _ in range(2):
        gone = data.draw(st.sampled_from(sorted(plain)))
        del sets[gone], plain[gone]
    changed = data.draw(st.sampled_from(sorted(plain)))
    bits = data.draw(BITS)
    sets[changed] = mask(bits)
    plain[changed] = {i for i, bit in enumerate(bits) if bit}
    assert {name: members(sets[name]) for name in sets} == plain
    again = se.MaskSets.from_state(sets.state_dict())
    assert {name: members(again[name]) for name in again} == plain


def test_similar_masks_cost_what_differs():
    drawn = torch.Generator().manual_seed(0)
    base = torch.rand(100_000, generator=drawn) < 0.5
    sets = se.MaskSets()
    sets["first"] = {"w": base}
    packed = 100_000 // 8
    assert packed <= sets.nbytes() < packed + 50  # random bits cannot be made smaller
    before = sets.nbytes()
    sets["same"] = {"w": base}
    assert sets.nbytes() == before
    near = base.clone()
    near[:100] = ~near[:100]
    sets["near"] = {"w": near}
    assert sets.nbytes() < before + 60
    scattered = torch.rand(100_000, generator=drawn) < 0.005
    sets["scattered"] = {"w": base ^ scattered}
    assert sets.nbytes() < before + packed / 8
    sets["opposite"] = {"w": ~base}
    assert torch.equal(sets["opposite"]["w"], ~base)


def test_a_store_gives_what_is_awake_on_both_layers():
    store = se.MaskStore({"b": torch.Size([4]), "c": torch.Size([2])})
    store.sleep(Choice({"b": torch.tensor([True, False, False, False])}))
    store.sleep(Choice({"b": torch.tensor([False, True, False, False])}, Layer.NODES))
    sets = se.MaskSets()
    sets["now"] = store
    assert sets["now"]["b"].tolist() == [False, False, True, True]
    assert sets["now"]["c"].all()
    assert sets.shapes() == {"b": torch.Size([4]), "c": torch.Size([2])}


def test_a_model_is_switched_in_one_call():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    drawn, x = torch.Generator().manual_seed(1), torch.ones(3, 6)
    sets = se.MaskSets()
    for task in ("a", "b", "c"):
        sets[task] = {
            n: torch.rand(p.shape, generator=drawn) > 0.5 for n, p in values.items() if p.dim() > 1
        }
    engine = se.SleepEngine(model)
    for name in ("a", "b", "a", "c", "b"):
        engine.set_masks(sets[name])
        assert torch.equal(engine.store.awake("0.weight"), sets[name]["0.weight"])
        engine.check()
        now = model(x)
        engine.set_masks(sets.union(*sets) | ~sets.union(*sets))  # all awake
        assert torch.equal(now, se.masked_call(model, sets[name], x))
        assert all(torch.equal(p, values[n]) for n, p in model.named_parameters())


def test_files_give_back_every_mask(tmp_path):
    sets = se.MaskSets()
    for i in range(4):
        sets[f"task {i}"] = mask([j % (i + 2) == 0 for j in range(13)])
    se.save_masks(tmp_path / "tasks.masks", sets)
    again = se.load_masks(tmp_path / "tasks.masks")
    assert list(again) == list(sets)
    assert all(again[name] == sets[name] for name in sets)
    se.save_masks(tmp_path / "none.masks", se.MaskSets())
    assert len(se.load_masks(tmp_path / "none.masks")) == 0
    container.write(tmp_path / "run", {"step": 1}, kind="run")
    with pytest.raises(FileError, match="holds 'run', expected 'mask sets'"):
        se.load_masks(tmp_path / "run")
    container.write(tmp_path / "bad", {"format": 1}, kind="mask sets")
    with pytest.raises(FileError, match=r"bad: mask sets must have keys"):
        se.load_masks(tmp_path / "bad")


def broken(**changes) -> dict:
    sets = se.MaskSets()
    sets["x"] = mask([True] * 8 + [False] * 5)
    sets["y"] = mask([True] * 7 + [False] * 6)
    state = sets.state_dict()
    state["masks"]["x"].update(changes)
    return state


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"format": 2, "shapes": {}, "masks": {}}, "format 2, this reads 1"),
        ({"format": 1, "shapes": {"a": [-1]}, "masks": {}}, "need shapes"),
        ({"format": 1, "shapes": {}, "masks": []}, "masks must be a dict"),
        (broken(base="y"), "mask 'x' differs from 'y', which does not come before it"),
        (broken(coded={"c": torch.zeros(2, dtype=torch.uint8)}), "unknown parameter 'c'"),
        (broken(coded={"b": torch.zeros(2)}), "must be a 1-D uint8 tensor"),
        (broken(coded={"b": torch.tensor([0, 1, 1], dtype=torch.uint8)}), "2 bytes of bits"),
        (broken(coded={"b": torch.tensor([0, 16], dtype=torch.uint8)}), "beyond entry 3 are set"),
        (broken(coded={"b": torch.tensor([7, 1], dtype=torch.uint8)}), r"unknown form \[7\]"),
        (broken(coded={"b": torch.tensor([1, 9], dtype=torch.uint8)}), "cut short"),
        (broken(coded={"b": torch.tensor([1, 9, 9, 9], dtype=torch.uint8)}), "damaged bits"),
    ],
)
def test_damaged_states_are_refused(state, message):
    with pytest.raises(StateError, match=message):
        se.MaskSets.from_state(state)


def test_errors():
    sets = se.MaskSets()
    with pytest.raises(SetupError, match="there are no masks yet"):
        sets.union()
    sets["digit"] = mask([True] * 13)
    with pytest.raises(UnknownNameError, match=r"no mask 'digits'. Did you mean 'digit'"):
        sets["digits"]
    with pytest.raises(UnknownNameError, match="no mask 'odd'"):
        del sets["odd"]
    with pytest.raises(SetupError, match=r"at parameter 'b': shape none instead of \(4,\)"):
        sets["odd"] = {"a": torch.ones(3, 3, dtype=torch.bool)}
    with pytest.raises(SetupError, match="needs a bool tensor"):
        sets["odd"] = {"a": torch.ones(3, 3), "b": torch.ones(4)}
    with pytest.raises(SetupError, match="the name of a mask is text"):
        sets[3] = mask([True] * 13)
    with pytest.raises(SetupError, match="give a MaskStore"):
        sets["odd"] = 5
    assert list(sets) == ["digit"]
    assert repr(sets) == "MaskSets(digit 1.0000 awake)"
