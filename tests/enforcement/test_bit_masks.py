import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.enforcement import bit_masks
from sleepengine.enforcement.bit_masks import (
    AndMask,
    Expander,
    and_,
    copy_where_,
    differs_where,
    fill_where_,
    nonzero_where,
    restore_,
)
from sleepengine.errors import SetupError
from sleepengine.masks.bits import pack

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SPECIAL = [float("inf"), float("-inf"), float("nan"), -0.0, 0.0, 1e-40]


def sample(shape, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(dtype)
    flat = x.view(-1)
    for i, value in enumerate(SPECIAL * 2):
        if 5 * i < flat.numel():
            flat[5 * i] = value
    return x, torch.rand(shape, generator=generator) < 0.5


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (3, 5), (61, 13), (2, 3, 4, 5), (0, 4)])
def test_and_is_where_to_the_bit(shape, dtype, lean, words):
    x, keep = sample(shape, dtype)
    expected = torch.where(keep, x, torch.zeros_like(x))
    and_(x, AndMask(pack(keep), x, Expander(chunk=64), lean=lean))
    assert torch.equal(words(x), words(expected))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 40),
    chunk=st.sampled_from([8, 16, 24, 64]),
    layout=st.sampled_from(["plain", "transposed", "strided", "channels_last"]),
    seed=st.integers(0, 99),
)
def test_every_layout_and_chunk(rows, columns, chunk, layout, seed):
    x, keep = sample((rows, columns), torch.float32, seed)
    if layout == "transposed":
        x, keep = x.t(), keep.t()
    elif layout == "strided":
        x, keep = x[:, ::2], keep[:, ::2]
    elif layout == "channels_last":
        x, keep = sample((rows, 3, 2, columns), torch.float32, seed)
        x = x.contiguous(memory_format=torch.channels_last)
    expander, bits = Expander(chunk=chunk), pack(keep)
    expected = torch.where(keep, x, torch.zeros_like(x))
    assert nonzero_where(x, bits, expander) == int(
        (x.contiguous().view(torch.int32) != 0)[keep].sum()
    )
    for lean in (True, False):
        masked = x.clone(memory_format=torch.preserve_format)
        and_(masked, AndMask(bits, masked, expander, lean=lean))
        assert torch.equal(
            masked.contiguous().view(torch.int32), expected.contiguous().view(torch.int32)
        )
    other = torch.full_like(x, -0.0)
    assert differs_where(x, other, bits, expander) == int(
        (x.contiguous().view(torch.int32) != -(2**31))[keep].sum()
    )
    copy_where_(other, x, bits, expander)
    assert differs_where(x, other, bits, expander) == 0


@pytest.mark.parametrize("value", [0.0, 1.0, -0.0, 0.1, -3.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_fill_where(dtype, value, words):
    x, chosen = sample((13, 11), dtype)
    expected = torch.where(chosen, torch.tensor(value, dtype=dtype), x)
    fill_where_(x, pack(chosen), value, Expander(chunk=32))
    assert torch.equal(words(x), words(expected))


def test_restore_is_and_then_or(words):
    x, keep = sample((9, 9), torch.float32)
    saved = torch.where(keep, torch.zeros(()), torch.full((), -0.0))
    expected = torch.where(keep, x, saved)
    restore_(x, AndMask(pack(keep), x, Expander(chunk=16), lean=True), saved)
    assert torch.equal(words(x), words(expected))


@pytest.mark.parametrize("sparse_dim", [1, 2])
def test_sparse_keeps_duplicates_and_clears_nan(sparse_dim):
    indices = torch.tensor([[3, 0, 3, 1]] if sparse_dim == 1 else [[3, 0, 3, 1], [2, 1, 2, 0]])
    inner = (4, 3) if sparse_dim == 1 else (4,)
    values = torch.arange(1.0, 1 + torch.Size(inner).numel()).view(inner)
    values.view(-1)[0] = float("nan")
    grad = torch.sparse_coo_tensor(indices, values, (5, 3), check_invariants=True)
    keep = torch.ones(5, 3, dtype=torch.bool)
    keep[3] = False
    keep[1, 0] = False
    dense = grad.to_dense()
    and_(grad, AndMask(pack(keep), torch.zeros(5, 3), Expander()))
    assert torch.equal(grad.to_dense(), torch.where(keep, dense, torch.zeros(())))
    assert not grad.is_coalesced()


def test_gradient_of_another_type_than_the_mask_was_made_for():
    x, keep = sample((6,), torch.float32)
    mask = AndMask(pack(keep), x, Expander())
    half = torch.ones(6, dtype=torch.bfloat16)
    and_(half, mask)
    assert torch.equal(half.bool(), keep)


def test_lean_keeps_no_expanded_mask(monkeypatch):
    monkeypatch.setattr(bit_masks, "native", lambda: None)
    x, keep = sample((64,), torch.float32)
    assert AndMask(pack(keep), x, Expander(), lean=True).nbytes == 8
    assert AndMask(pack(keep), x, Expander()).nbytes == 256 + 8


def test_complex_and_csr_are_refused():
    with pytest.raises(SetupError, match="complex64"):
        AndMask(
            pack(torch.ones(2, dtype=torch.bool)), torch.zeros(2, dtype=torch.cfloat), Expander()
        )
    x = torch.eye(3)
    mask = AndMask(pack(torch.eye(3, dtype=torch.bool)), x, Expander())
    with pytest.warns(UserWarning, match="beta state"):
        csr = x.to_sparse_csr()
    with pytest.raises(SetupError, match="sparse_csr"):
        and_(csr, mask)


def test_and_counts_as_a_write():
    x = torch.ones(3, requires_grad=True)
    before = x._version
    and_(x, AndMask(pack(torch.zeros(3, dtype=torch.bool)), x, Expander()))
    assert x._version > before
    assert x.tolist() == [0, 0, 0]
