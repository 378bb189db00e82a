import copy
import io

import pytest
import torch

from sleepengine.errors import StateError
from sleepengine.masks.choice import Choice, Layer
from sleepengine.masks.store import MaskStore

SHAPES = {"a": torch.Size([3, 3]), "b": torch.Size([4])}


def filled() -> MaskStore:
    store = MaskStore(SHAPES)
    store.sleep(Choice({"a": torch.eye(3, dtype=torch.bool)}))
    store.snapshot("early")
    store.sleep(Choice({"b": torch.tensor([True, False, False, True])}, Layer.NODES))
    store.freeze(Choice({"a": torch.eye(3, dtype=torch.bool).flip(0)}))
    return store


def entry(state):
    return state["masks"]["asleep"]["weights"]["a"]


def wrong_format(state):
    state["format"] = 99


def missing_part(state):
    del state["snapshots"]


def extra_part(state):
    state["more"] = 1


def missing_shape(state):
    del state["shapes"]["b"]


def wrong_shape(state):
    state["shapes"]["a"] = [9]


def shape_not_a_list(state):
    state["shapes"]["a"] = 9


def unknown_name(state):
    state["masks"]["asleep"]["weights"]["A"] = entry(state)


def missing_layer(state):
    del state["masks"]["frozen"]["nodes"]


def wrong_dtype(state):
    entry(state)["bits"] = entry(state)["bits"].to(torch.int32)


def not_a_tensor(state):
    entry(state)["bits"] = [1, 2]


def too_short(state):
    entry(state)["bits"] = entry(state)["bits"][:1]


def two_dimensional(state):
    entry(state)["bits"] = entry(state)["bits"][None]


def padding(state):
    entry(state)["bits"][1] |= 128


def wrong_count(state):
    entry(state)["count"] = 2


def count_not_int(state):
    entry(state)["count"] = 3.0


def flipped_bit(state):
    entry(state)["bits"][0] ^= 2


def bad_snapshot(state):
    state["snapshots"]["early"]["asleep"]["weights"]["a"]["count"] = 0


def bad_tag(state):
    state["snapshots"][3] = state["snapshots"]["early"]


def not_a_dict(state):
    state["masks"]["asleep"]["weights"] = [1]


DAMAGE = {
    wrong_format: "format 99",
    missing_part: r"missing \['snapshots'\]",
    extra_part: r"unknown \['more'\]",
    missing_shape: r"missing \['b'\]",
    wrong_shape: r"'a' has shape \[3, 3\] here, \[9\] in the state",
    shape_not_a_list: "'a' has shape",
    unknown_name: r"unknown 'A'\. ",
    missing_layer: r"missing \['nodes'\]",
    wrong_dtype: r"masks\['asleep'\]\['weights'\]\['a'\]: bits must be .* got torch\.int32",
    not_a_tensor: "uint8 tensor, got list",
    too_short: r"9 entries need 2 bytes .* \(1,\)",
    two_dimensional: r"got shape \(1, 2\)",
    padding: "bits beyond entry 8 are set",
    wrong_count: "count says 2, the bits say 3",
    count_not_int: r"count says 3\.0",
    flipped_bit: "count says 3, the bits say 4",
    bad_snapshot: r"snapshots\['early'\].*count says 0",
    bad_tag: "keyed by tags",
    not_a_dict: "must be a dict, got list",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_state_is_refused_and_nothing_changes(damage):
    state = filled().state_dict()
    damage(state)
    target = MaskStore(SHAPES)
    target.sleep(Choice({"a": torch.ones(3, 3, dtype=torch.bool)}))
    before = target.digest()
    with pytest.raises(StateError, match=DAMAGE[damage]):
        target.load_state_dict(state)
    assert target.digest() == before
    assert target.snapshots() == {}


def test_a_state_goes_through_a_weights_only_file():
    store, target, file = filled(), MaskStore(SHAPES), io.BytesIO()
    torch.save(store.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    assert target.digest() == store.digest()
    assert target.snapshots() == store.snapshots()


def test_a_state_shares_no_memory_with_either_store():
    store, target = filled(), MaskStore(SHAPES)
    state = store.state_dict()
    before = copy.deepcopy(state)
    target.load_state_dict(state)
    target.wake(Choice({"a": torch.ones(3, 3, dtype=torch.bool)}))
    assert torch.equal(entry(state)["bits"], entry(before)["bits"])
    entry(state)["bits"].zero_()
    assert target.digest() != store.digest()
    target.load_state_dict(before)
    entry(before)["bits"].zero_()
    assert target.digest() == store.digest() == filled().digest()
