"""Cuts against plain indexing: taken out, written back, nothing else touched."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.compaction.cuts import Blocks, Lines


@st.composite
def cuts(draw):
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    dims = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    kept = {
        d: torch.tensor(sorted(draw(st.sets(st.integers(0, shape[d] - 1), min_size=1))))
        for d in dims
    }
    return Lines(torch.Size(shape), kept)


@settings(deadline=None)
@given(
    cuts(),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.bool]),
    st.booleans(),
)
def test_lines(cut, dtype, turned):
    full = torch.arange(cut.shape.numel()).view(cut.shape).to(dtype)
    if turned and full.dim() == 4:
        full = full.contiguous(memory_format=torch.channels_last)
    expected = full
    for dim, index in cut.kept.items():
        expected = expected.index_select(dim, index)
    part = cut.take(full)
    assert part.shape == cut.small
    assert torch.equal(part, expected)
    assert part.data_ptr() != full.data_ptr()
    wide = torch.ones_like(full)
    cut.put(torch.zeros_like(part), wide)
    assert int((wide == 0).sum()) == part.numel()
    cut.put(part, wide)
    assert torch.equal(cut.take(wide), part)


def test_blocks():
    cut = Blocks(torch.Size([4, 2, 1]), torch.tensor([0, 3]), torch.tensor([[1], [0]]))
    full = torch.arange(8.0).view(4, 2, 1)
    assert cut.take(full).tolist() == [[[1.0]], [[6.0]]]
    assert cut.small == (2, 1, 1)
    cut.put(torch.zeros(2, 1, 1), full)
    assert full.flatten().tolist() == [0, 0, 2, 3, 4, 5, 0, 7]


def test_channels_last_stays():
    cut = Lines(torch.Size([4, 4, 3, 3]), {0: torch.tensor([1, 2]), 1: torch.tensor([0, 3])})
    full = torch.randn(4, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    assert cut.take(full).is_contiguous(memory_format=torch.channels_last)
