import pytest
import torch

from sleepengine.errors import SetupError, UnknownNameError
from sleepengine.masks import bits
from sleepengine.masks.choice import Choice, Kind, Layer
from sleepengine.masks.store import MaskStore

SHAPES = {"fc1.weight": torch.Size([2, 2]), "fc2.weight": torch.Size([3])}


def choose(text: str, layer: Layer = Layer.WEIGHTS) -> Choice:
    flat = torch.tensor([letter == "x" for letter in text])
    return Choice({"fc1.weight": flat.view(2, 2)}, layer)


def shown(mask: torch.Tensor | None) -> str:
    return "----" if mask is None else "".join("x" if one else "." for one in mask.view(-1))


def test_two_layers_of_sleep_step_by_step():
    store = MaskStore(SHAPES)
    table = [  # call, choice, what changed, asleep afterwards
        (store.sleep, choose("xx.."), "xx..", "xx.."),
        (store.sleep, choose("xx.."), "....", "xx.."),
        (store.sleep, choose(".xx.", Layer.NODES), "..x.", "xxx."),
        (store.wake, choose("xx.."), "x...", ".xx."),
        (store.wake, choose("xxxx"), "....", ".xx."),
        (store.wake, choose(".x..", Layer.NODES), ".x..", "..x."),
        (store.wake, choose("xxxx", Layer.NODES), "..x.", "...."),
    ]
    for call, choice, changed, asleep in table:
        found = call(choice)
        assert shown(found["fc1.weight"]) == changed if found else changed == "...."
        assert found.layer is choice.layer
        awake = store.awake("fc1.weight")
        assert (shown(~awake) if awake is not None else "....") == asleep


def test_freezing_does_not_depend_on_sleep():
    store = MaskStore(SHAPES)
    store.freeze(choose("xx.."))
    store.sleep(choose(".xx."))
    assert shown(store.trainable("fc1.weight")) == "...x"
    store.wake(choose("xxxx"))
    assert shown(store.frozen("fc1.weight")) == "xx.."
    assert shown(store.trainable("fc1.weight")) == "..xx"
    assert shown(store.thaw(choose(".xx."))["fc1.weight"]) == ".x.."
    store.thaw(choose("xxxx"))
    assert store.entries() == ()


def test_what_nobody_touched_costs_nothing():
    store = MaskStore(SHAPES)
    for read in (store.awake, store.trainable, store.frozen, store.asleep_bits, store.frozen_bits):
        assert read("fc2.weight") is None
    assert store.trainable_bits("fc2.weight") is None
    assert store.nbytes() == 0
    store.sleep(choose("xx.."))
    assert store.entries() == ("fc1.weight",)
    assert store.nbytes() == 1  # four entries, one byte
    assert store.layer_bits("fc1.weight", Layer.NODES, Kind.ASLEEP) is None


def test_storage_is_an_eighth_of_a_byte_per_weight():
    store = MaskStore({"w": torch.Size([1000, 1000])})
    store.sleep(Choice({"w": torch.rand(1000, 1000) < 0.9}))
    assert store.nbytes() == 125_000


def test_counts_and_fractions():
    store = MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    store.freeze(choose("x..."))
    assert (store.asleep_count(), store.asleep_count("fc2.weight")) == (2, 0)
    assert (store.frozen_count(), store.frozen_count("fc1.weight")) == (1, 1)
    assert store.fraction("fc1.weight") == 0.5
    assert store.fraction() == 2 / 7
    assert MaskStore({}).fraction() == 0.0


def test_a_fork_changes_apart_and_shares_its_bits():
    store = MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    fork = store.fork()
    assert fork.asleep_bits("fc1.weight") is store.asleep_bits("fc1.weight")
    fork.wake(choose("x..."))
    assert (store.asleep_count(), fork.asleep_count()) == (2, 1)
    assert store.digest() != fork.digest()


def test_adopt_says_what_changed():
    store, other = MaskStore(SHAPES), MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    other.sleep(choose(".xx.", Layer.NODES))
    other.freeze(choose("...x"))
    slept, woke, frozen, thawed = store.adopt(other)
    assert (slept, woke) == (choose("..x."), choose("x..."))
    assert (frozen, thawed) == (choose("...x"), Choice.empty())
    assert store.digest() == other.digest()


def test_a_delta_goes_both_ways():
    store, other = MaskStore(SHAPES), MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    other.sleep(choose(".xx."))
    other.freeze(choose("x...", Layer.NODES))
    start, delta = store.digest(), store.diff(other)
    assert delta.names() == {"fc1.weight"}
    assert not delta.is_empty()
    assert store.apply_diff(delta).slept == choose("..x.")
    assert store.digest() == other.digest()
    assert store.diff(other).is_empty()
    assert store.apply_diff(delta).woke == choose("..x.")
    assert store.digest() == start


def test_restore_gives_back_every_layer():
    store = MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    store.sleep(choose(".x..", Layer.NODES))
    store.freeze(choose("...x"))
    kept, digest = store.snapshot("task1"), store.digest()
    assert shown(kept["fc1.weight"]) == "..xx"
    store.wake(choose("xxxx"))
    store.sleep(choose("..x."))
    store.thaw(choose("xxxx"))
    changes = store.restore("task1")
    assert changes.slept == choose("x...")
    assert changes.woke == choose("..x.")
    assert changes.frozen == choose("...x")
    assert store.digest() == digest
    assert store.snapshots() == {"task1": kept}
    store.drop("task1")
    assert store.snapshots() == {}


def test_digest_does_not_depend_on_history_or_order():
    a, b = MaskStore(SHAPES), MaskStore(dict(reversed(SHAPES.items())))
    a.sleep(choose("xx.."))
    b.sleep(choose("xxx."))
    b.wake(choose("..x."))
    assert a.digest() == b.digest()
    b.sleep(choose("x...", Layer.NODES))  # the same weights are awake, but not for the same reason
    assert a.asleep_count() == b.asleep_count()
    assert a.digest() != b.digest()


def test_nothing_is_applied_when_one_name_is_wrong():
    store = MaskStore(SHAPES)
    good = torch.ones(2, 2, dtype=torch.bool)
    with pytest.raises(UnknownNameError, match=r"no 'fc2\.wieght'\. Did you mean 'fc2\.weight'"):
        store.sleep(Choice({"fc1.weight": good, "fc2.wieght": torch.ones(3, dtype=torch.bool)}))
    with pytest.raises(SetupError, match=r"'fc2\.weight' has shape \(2, 2\), .* has \(3,\)"):
        store.freeze(Choice({"fc1.weight": good, "fc2.weight": good}))
    with pytest.raises(SetupError, match="expected a Choice, got dict"):
        store.sleep({"fc1.weight": good})
    assert store.entries() == ()


def test_other_mistakes_are_named():
    store = MaskStore(SHAPES)
    store.snapshot("task1")
    with pytest.raises(UnknownNameError, match=r"no snapshot 'task2'\. Did you mean 'task1'"):
        store.restore("task2")
    with pytest.raises(UnknownNameError, match="no snapshot 'x'"):
        store.drop("x")
    with pytest.raises(UnknownNameError, match="fc9"):
        store.awake("fc9")
    with pytest.raises(UnknownNameError, match="fc9"):
        MaskStore(SHAPES, {"fc9": torch.device("cpu")})
    with pytest.raises(SetupError, match=r"differ at 'fc2\.weight': \(3,\) here, not known there"):
        store.adopt(MaskStore({"fc1.weight": torch.Size([2, 2])}))


def test_returned_masks_are_copies():
    store = MaskStore(SHAPES)
    store.sleep(choose("xx.."))
    store.awake("fc1.weight").fill_(True)
    store.trainable("fc1.weight").fill_(True)
    assert store.asleep_count() == bits.count(store.asleep_bits("fc1.weight")) == 2
