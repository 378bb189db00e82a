import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.errors import SetupError, StateError, UnknownNameError
from sleepengine.masks import bits
from sleepengine.masks.bit_values import clear_, integer_view
from sleepengine.masks.parking import Parked, Parking, park_and_clear_, restore_

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 1),
    "strided": lambda x: torch.cat([x, x], 3)[..., ::2],
}
_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(_INTEGER[tensor.element_size()])


def wild(shape, dtype, seed=0) -> torch.Tensor:
    """Every bit pattern: NaN payloads, infinities, denormals, both zeros."""
    generator = torch.Generator().manual_seed(seed)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    size = torch.empty(0, dtype=dtype).element_size()
    numel = int(torch.Size(shape).numel())
    flat = torch.randint(0, 256, (numel * size,), generator=generator, dtype=torch.uint8)
    values = flat.view(dtype).clone()
    if dtype.is_floating_point and numel >= 4:
        values[:4] = torch.tensor([-0.0, 0.0, float("nan"), -float("inf")], dtype=dtype)
        raw(values)[2] += 1  # a NaN with a payload
    return values.view(shape)


def random_mask(shape, seed, share) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("share", [0.02, 0.6, 1.0])
def test_a_round_trip_keeps_every_bit(dense, layout, dtype, share):
    tensor = LAYOUTS[layout](wild((5, 3, 7, 4), dtype))
    strides, address = tensor.stride(), tensor.data_ptr()
    before = raw(tensor).clone()
    mask = random_mask(tensor.shape, 1, share)
    packed = bits.pack(mask)
    parked = Parked(tensor.shape, dtype, dense=dense)
    park_and_clear_(tensor, packed, parked)
    assert not raw(tensor)[mask].any()  # +0.0, in bits
    assert torch.equal(raw(tensor)[~mask], before[~mask])
    assert torch.equal(raw(parked.get(packed)), before[mask])
    assert (parked.count(), torch.equal(parked.bits, packed)) == (int(mask.sum()), True)
    restore_(tensor, packed, parked)
    assert torch.equal(raw(tensor), before)
    assert (parked.count(), parked.nbytes) == (0, 0)
    assert (tensor.stride(), tensor.data_ptr()) == (strides, address)


@pytest.mark.parametrize("dense", [True, False])
def test_large_tensors_go_through_many_chunks(dense):
    tensor = wild((300_003,), torch.float32)
    before = raw(tensor).clone()
    mask = random_mask(tensor.shape, 2, 0.9)
    parked = Parked(tensor.shape, tensor.dtype, dense=dense)
    parked.park_and_clear_(tensor, bits.pack(mask))
    assert not raw(tensor)[mask].any()
    half = mask & (torch.arange(len(mask)) % 2 == 0)
    parked.restore_(tensor, bits.pack(half))
    assert torch.equal(raw(tensor)[half | ~mask], before[half | ~mask])
    assert not raw(tensor)[mask & ~half].any()
    parked.restore_(tensor, bits.pack(mask & ~half), target_is_zero=True)
    assert torch.equal(raw(tensor), before)


@pytest.mark.parametrize("dense", [True, False])
def test_a_parameter_keeps_its_identity_and_its_graph(dense):
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    parked = Parked(weight.shape, weight.dtype, dense=dense)
    parked.park_and_clear_(weight, bits.full(2))
    assert weight.requires_grad
    assert weight.grad_fn is None
    parked.restore_(weight, bits.full(2))
    assert weight.tolist() == [1.0, 2.0]


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["put", "park", "restore", "fill", "take", "discard", "copy", "save"]),
            st.integers(0, 2**31),
            st.sampled_from([0.0, 0.03, 0.5, 1.0]),
        ),
        max_size=12,
    ),
    dense=st.booleans(),
    numel=st.integers(0, 130),
)
@settings(max_examples=120, deadline=None)
def test_random_histories_agree_with_a_dict(steps, dense, numel):
    tensor = torch.zeros(numel)
    kept: dict[int, int] = {}  # flat index -> bit pattern
    parked = Parked(tensor.shape, tensor.dtype, dense=dense)
    for step, seed, share in steps:
        mask = random_mask((numel,), seed, share)
        index = mask.nonzero().view(-1).tolist()
        here = [i for i in index if i in kept]
        present = torch.zeros(numel, dtype=torch.bool)
        present[here] = True
        if step in ("put", "park"):
            tensor.copy_(wild((numel,), torch.float32, seed))
            pattern = raw(tensor).tolist()
            kept.update({i: pattern[i] for i in index})
            call = parked.put if step == "put" else parked.park_and_clear_
            call(tensor, bits.pack(mask))
            expected = [0 if step == "park" and i in index else b for i, b in enumerate(pattern)]
        else:
            expected = raw(tensor).tolist()
            packed = bits.pack(present)
            if step == "restore":
                parked.restore_(tensor, packed)
                expected = [kept.pop(i) if i in here else b for i, b in enumerate(expected)]
            elif step == "fill":
                parked.fill_into(tensor, bits.pack(mask))
                expected = [kept[i] if i in here else b for i, b in enumerate(expected)]
            elif step == "take":
                assert raw(parked.take(packed)).tolist() == [kept.pop(i) for i in here]
            elif step == "discard":
                parked.discard(bits.pack(mask))
                kept = {i: b for i, b in kept.items() if i not in here}
            elif step == "copy":
                parked, old = parked.copy(), parked
                old.discard(bits.full(numel))
            else:
                other = Parked(tensor.shape, tensor.dtype, dense=not dense)
                other.load_state_dict(parked.state_dict())
                parked = other
        assert raw(tensor).tolist() == expected
        assert bits.nonzero(parked.bits, numel).tolist() == sorted(kept)
        assert raw(parked.get(parked.bits)).tolist() == [kept[i] for i in sorted(kept)]


@pytest.mark.parametrize("dense", [True, False])
def test_nothing_is_left_behind_by_what_was_discarded(dense):
    first, last = (bits.pack(torch.tensor(side)) for side in ([True, False], [False, True]))
    parked = Parked((2,), torch.float32, dense=dense)
    parked.put(torch.tensor([-1.5, 3.0]), bits.full(2))
    parked.discard(first)
    tensor = torch.tensor([0.0, 0.0])
    parked.fill_into(tensor, bits.full(2), target_is_zero=True)
    assert tensor.tolist() == [0.0, 3.0]
    parked.put(torch.tensor([1.0, 7.0]), first)
    parked.restore_(tensor, first)
    assert tensor.tolist() == [1.0, 3.0]
    parked.restore_(tensor.zero_(), last, target_is_zero=True)
    assert tensor.tolist() == [0.0, 3.0]


def test_clear_leaves_other_entries_and_makes_positive_zeros():
    tensor = torch.tensor([-1.0, -0.0, float("nan"), -2.0])
    clear_(tensor, bits.pack(torch.tensor([True, True, True, False])))
    assert raw(tensor).tolist() == [0, 0, 0, raw(torch.tensor(-2.0)).item()]


def test_dense_keeps_the_full_size_and_packed_the_values_alone():
    tensor, packed = torch.ones(80), bits.pack(torch.arange(80) < 10)
    sizes = []
    for dense in (True, False):
        parked = Parked(tensor.shape, tensor.dtype, dense=dense)
        parked.put(tensor, packed)
        sizes.append(parked.nbytes)
    assert sizes == [80 * 4 + 10, 10 * 4 + 10]


def test_mistakes_are_named():
    parked = Parked((4,), torch.float32)
    parked.put(torch.ones(4), bits.pack(torch.tensor([True, False, False, False])))
    with pytest.raises(SetupError, match=r"3 of 4 entries asked for are not parked .*1 parked"):
        parked.get(bits.full(4))
    with pytest.raises(SetupError, match="not parked"):
        parked.restore_(torch.zeros(4), bits.full(4))
    with pytest.raises(SetupError, match=r"float32 of shape \(4,\), got torch\.float64"):
        parked.put(torch.ones(4, dtype=torch.float64), bits.full(4))
    with pytest.raises(SetupError, match=r"of shape \(2, 2\)"):
        parked.put(torch.ones(2, 2), bits.full(4))
    with pytest.raises(SetupError, match="4 entries need 1 bytes"):
        parked.put(torch.ones(4), bits.full(9))
    with pytest.raises(SetupError, match=r"complex tensors .*view_as_real"):
        Parked((2,), torch.complex64)
    with pytest.raises(SetupError, match="only strided tensors"):
        integer_view(torch.eye(2).to_sparse())


def parking(dense: bool = False) -> tuple[dict[str, torch.Tensor], Parking]:
    tensors = {"a": wild((3, 3), torch.float32), "b": torch.ones(4, dtype=torch.float64)}
    return tensors, Parking(tensors, dense=dense)


@pytest.mark.parametrize("dense", [True, False])
def test_parking_keeps_state_only_where_anything_is_parked(dense):
    tensors, kept = parking(dense)
    before = raw(tensors["a"]).clone()
    kept["a"].park_and_clear_(tensors["a"], bits.full(9))
    state, file = kept.state_dict(), io.BytesIO()
    assert list(state) == ["a"]
    torch.save(state, file)
    file.seek(0)
    _, other = parking(not dense)
    other["b"].put(tensors["b"], bits.full(4))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.occupied() == ("a",)
    other["a"].restore_(tensors["a"], bits.full(9))
    assert torch.equal(raw(tensors["a"]), before)
    assert kept["a"].count() == 9


def test_parking_knows_its_names():
    tensors, kept = parking()
    with pytest.raises(UnknownNameError, match="'c'"):
        kept["c"]
    first = kept["a"]
    assert kept.add("a", tensors["a"]) is first
    assert kept.add("a", torch.ones(2)) is not first
    copied = kept.copy()
    copied["b"].put(tensors["b"], bits.full(4))
    assert (kept.nbytes, copied.nbytes) == (0, 33)


DAMAGE = {
    "unknown name": (lambda s: s.update(A=s["a"]), r"unknown 'A'\. Did|unknown 'A'\. Valid"),
    "missing part": (lambda s: s["a"].pop("values"), r"missing \['values'\]"),
    "shape": (lambda s: s["a"].update(shape=[9]), r"shape \[9\] was saved"),
    "dtype": (lambda s: s["a"].update(dtype="torch.float16"), r"torch\.float16 of shape"),
    "padding": (lambda s: s["a"]["mask"]["bits"].__setitem__(1, 255), "beyond entry 8"),
    "count": (lambda s: s["a"]["mask"].update(count=3), "count says 3, the bits say 9"),
    "too few values": (lambda s: s["a"].update(values=torch.ones(8)), r"values have shape \(8,\)"),
    "values' dtype": (
        lambda s: s["a"].update(values=torch.ones(9).half()),
        r"must be a tensor of torch\.float32, got torch\.float16",
    ),
    "no tensor": (lambda s: s["a"].update(values=[1.0]), "got list"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_state_is_refused_and_nothing_changes(case):
    damage, message = DAMAGE[case]
    tensors, kept = parking()
    kept["a"].put(tensors["a"], bits.full(9))
    state = copy.deepcopy(kept.state_dict())
    damage(state)
    _, target = parking()
    target["b"].put(tensors["b"], bits.full(4))
    with pytest.raises(StateError, match=message):
        target.load_state_dict(state)
    assert target.occupied() == ("b",)
