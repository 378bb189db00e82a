import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sleepengine.masks import bits

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9))


def random_mask(numel: int, seed: int, share: float = 0.5) -> torch.Tensor:
    return torch.rand(numel, generator=torch.Generator().manual_seed(seed)) < share


def test_bit_order_is_little_endian_and_row_major():
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, 0] = mask[0, 2] = mask[2, 1] = True  # entries 0, 2 and 9
    assert bits.pack(mask).tolist() == [0b101, 0b10]


@pytest.mark.parametrize("numel", range(131))
def test_every_size_round_trips_and_agrees_with_plain_counting(numel):
    mask = random_mask(numel, seed=numel)
    packed = bits.pack(mask)
    assert packed.dtype == torch.uint8
    assert packed.shape == (-(-numel // 8),)
    assert torch.equal(bits.unpack(packed, (numel,)), mask)
    assert bits.count(packed) == int(mask.sum())
    assert bits.any_set(packed) == bool(mask.any())
    assert bits.nonzero(packed, numel).tolist() == mask.nonzero().view(-1).tolist()
    assert torch.equal(bits.bit_not(packed, numel), bits.pack(~mask))
    assert torch.equal(bits.full(numel), bits.pack(torch.ones(numel, dtype=torch.bool)))
    assert torch.equal(bits.empty(numel), bits.pack(torch.zeros(numel, dtype=torch.bool)))
    assert bits.padding_is_zero(packed, numel)


@pytest.mark.parametrize("numel", range(131))
def test_the_torch_path_for_other_devices_agrees_with_numpy(numel):
    mask = random_mask(numel, seed=1000 + numel)
    packed = bits.pack(mask)
    assert torch.equal(bits._pack_torch(mask), packed)
    assert torch.equal(bits._unpack_torch(packed, numel), mask)


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_any_shape_round_trips(array):
    mask = torch.from_numpy(array)
    back = bits.unpack(bits.pack(mask), mask.shape)
    assert back.shape == mask.shape
    assert torch.equal(back, mask)
    assert torch.equal(bits.pack(mask), bits.pack(mask.reshape(-1)))


@given(MASKS, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_algebra_is_that_of_bools(array, seed):
    a = torch.from_numpy(array)
    b = random_mask(a.numel(), seed).view(a.shape)
    pa, pb = bits.pack(a), bits.pack(b)
    assert torch.equal(bits.bit_and(pa, pb), bits.pack(a & b))
    assert torch.equal(bits.bit_or(pa, pb), bits.pack(a | b))
    assert torch.equal(bits.bit_xor(pa, pb), bits.pack(a ^ b))
    assert torch.equal(bits.bit_andnot(pa, pb), bits.pack(a & ~b))
    assert torch.equal(pa, bits.pack(a))  # the arguments are not written


@pytest.mark.parametrize("layout", ["transposed", "channels_last", "strided", "scalar"])
def test_strides_do_not_matter(layout):
    base = random_mask(4 * 3 * 2 * 5, seed=3).view(4, 3, 2, 5)
    mask = {
        "transposed": base[0, 0].T,
        "channels_last": base.to(memory_format=torch.channels_last),
        "strided": base[:, ::2],
        "scalar": base[0, 0, 0, 0],
    }[layout]
    assert torch.equal(bits.unpack(bits.pack(mask), mask.shape), mask)
    assert torch.equal(bits.pack(mask), bits.pack(mask.contiguous()))


def test_nonzero_of_few_bits_in_many():
    mask = torch.zeros(10_000, dtype=torch.bool)
    mask[[3, 8, 9_999]] = True
    assert bits.nonzero(bits.pack(mask), 10_000).tolist() == [3, 8, 9_999]


def test_count_without_a_popcount_instruction(monkeypatch):
    packed = bits.pack(random_mask(1001, seed=5))
    fast = bits.count(packed)
    monkeypatch.setattr(bits, "_HAS_BITWISE_COUNT", False)
    assert bits.count(packed) == fast == int(np.unpackbits(packed.numpy()).sum())


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match=r"bool mask, got torch\.float32"):
        bits.pack(torch.ones(3))
    with pytest.raises(ValueError, match=r"9 entries need .* \(2,\), got \(1,\)"):
        bits.unpack(bits.empty(8), (9,))
    with pytest.raises(TypeError, match=r"uint8, got torch\.int32"):
        bits.unpack(torch.zeros(1, dtype=torch.int32), (8,))
