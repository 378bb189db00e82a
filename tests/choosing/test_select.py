"""Every way of selecting equals one stable sort, ties, infinities and all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sleepengine.choosing import bracket
from sleepengine.choosing.bracket import bracket_lowest
from sleepengine.choosing.on_device import device_lowest
from sleepengine.choosing.rows import lowest_of_rows
from sleepengine.choosing.select import lowest, partition_lowest, pick_lowest

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.int64, torch.int32, torch.uint8, torch.bool)
# Few values make many ties; the two zeros are equal.
POOL = (0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.1, math.inf, -math.inf, 1e-7)


def _able(pairs) -> int:
    return sum(s.numel() if e is None else int(e.sum()) for s, e in pairs)


@st.composite
def problems(draw, dtypes=FLOATS + WHOLE):
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        dtype = draw(st.sampled_from(dtypes))
        shape = tuple(draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)))
        n = math.prod(shape)
        if dtype.is_floating_point:
            numbers = draw(st.lists(st.sampled_from(POOL), min_size=n, max_size=n))
        else:
            numbers = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
        scores = torch.tensor(numbers, dtype=dtype).view(shape)
        eligible = None
        if draw(st.booleans()):
            bits = draw(st.lists(st.booleans(), min_size=n, max_size=n))
            eligible = torch.tensor(bits, dtype=torch.bool).view(shape)
        pairs.append((scores, eligible))
    return pairs, draw(st.integers(0, _able(pairs)))


def _same(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.bool
        assert torch.equal(one, other)


WAYS = {
    "small": lambda p, k, h: pick_lowest(p, k, highest=h),
    "large": lambda p, k, h: pick_lowest(p, k, highest=h, large=0, chunk=3),
    "partition": lambda p, k, h: partition_lowest(p, k, highest=h),
    "bracket": lambda p, k, h: bracket_lowest(p, k, _able(p), highest=h, chunk=4, sample=5),
    "device": lambda p, k, h: device_lowest(p, k, highest=h),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=120, deadline=None)
@given(problem=problems(), highest=st.booleans())
def test_equal_to_one_stable_sort(way, reference, problem, highest):
    pairs, k = problem
    if k == 0 and way not in ("small", "large"):
        return
    picked = WAYS[way](pairs, k, highest)
    expected = reference(pairs, k, highest)
    _same(picked.masks, expected)
    values = [v for (s, _), m in zip(pairs, expected, strict=True) for v in s[m].tolist()]
    assert picked.edge == ((min if highest else max)(values) if values else None)


@pytest.mark.parametrize("highest", [False, True])
@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9, 0.9999, 1.0])
@pytest.mark.parametrize("kind", ["normal", "ties", "equal", "spike", "half zeros", "eligible"])
def test_scanning_many_scores_equals_sorting_them(kind, share, highest):
    random = torch.Generator().manual_seed(3)
    a = torch.randn(120, 125, generator=random)
    b = torch.randn(20_000, generator=random).bfloat16()
    eligible = None
    if kind == "ties":
        a, b = (a * 3).round(), (b * 3).round()
    elif kind == "equal":
        a, b = torch.ones_like(a), torch.ones_like(b)
    elif kind == "spike":  # one value holds a twentieth, next to others
        a[:40, :40] = 0.5
    elif kind == "half zeros":
        a[torch.rand(a.shape, generator=random) < 0.9] = 0.0
    elif kind == "eligible":
        eligible = torch.rand(a.shape, generator=random) < 0.1
    pairs = [(a, eligible), (b, None)]
    k = math.floor(share * _able(pairs))
    picked = pick_lowest(pairs, k, highest=highest, large=0, chunk=1000)

    every = torch.cat([a.flatten(), b.float()]).numpy()
    allowed = np.ones(len(every), dtype=bool)
    if eligible is not None:
        allowed[: a.numel()] = eligible.flatten().numpy()
    order = np.argsort(-every if highest else every, kind="stable")
    chosen = order[allowed[order]][:k]
    expected = np.zeros(len(every), dtype=bool)
    expected[chosen] = True
    found = torch.cat([m.flatten() for m in picked.masks]).numpy()
    assert (found == expected).all()
    assert picked.edge == every[chosen[-1]]


def test_a_bracket_that_misses_is_widened(monkeypatch, reference):
    drawn = bracket._draw
    attempts = []

    def misleading(*args, **kwargs):
        sample = drawn(*args, **kwargs)
        attempts.append(len(sample))
        return sample + 100 if len(attempts) < 3 else sample

    monkeypatch.setattr(bracket, "_draw", misleading)
    scores = torch.arange(20_000.0).flip(0) / 20_000
    pairs = [(scores, None)]
    picked = bracket_lowest(pairs, 9000, 20_000, highest=False, chunk=999, sample=4000)
    _same(picked.masks, reference(pairs, 9000))
    assert len(attempts) == 3


def test_ties_go_to_the_first_tensor_and_the_lowest_index_in_both_directions():
    pairs = [(torch.tensor([2.0, 1.0, 1.0]), None), (torch.tensor([1.0, 2.0]), None)]
    assert [m.tolist() for m in lowest(pairs, 2)] == [[False, True, True], [False, False]]
    assert [m.tolist() for m in lowest(pairs, 1, highest=True)] == [
        [True, False, False],
        [False] * 2,
    ]


def test_whole_numbers_are_compared_by_value_and_without_overflow():
    least, most = torch.iinfo(torch.int64).min, torch.iinfo(torch.int64).max
    scores = torch.tensor([most, least, most - 1, 0])
    for large in (0, 10):
        assert lowest([(scores, None)], 1)[0].tolist() == [False, True, False, False]
        picked = pick_lowest([(scores, None)], 2, highest=True, large=large)
        assert picked.masks[0].tolist() == [True, False, True, False]


def test_scores_that_are_views_and_need_gradients_are_read_as_they_look(reference):
    scores = torch.arange(12.0, requires_grad=True).view(3, 4).t()
    able = torch.tensor([[True, False, True, True]] * 3).t()
    for large in (0, 100):
        picked = pick_lowest([(scores, able)], 4, large=large, chunk=5)
        _same(picked.masks, reference([(scores.detach(), able)], 4))


@pytest.mark.parametrize("k", [-1, 4])
def test_a_count_that_does_not_exist_raises(k):
    with pytest.raises(ValueError, match=f"{k} units are asked for and 3 may be chosen"):
        lowest([(torch.ones(3), None)], k)


def test_a_nan_that_slipped_through_does_not_loop():
    with pytest.raises(ValueError, match="NaN"):
        pick_lowest([(torch.full((9,), math.nan), None)], 9, large=0)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), highest=st.booleans(), dtype=st.sampled_from(FLOATS + WHOLE))
def test_rows_equal_one_stable_sort_each(reference, data, highest, dtype):
    rows, size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    n = rows * size
    values = st.sampled_from(POOL) if dtype.is_floating_point else st.integers(0, 3)
    scores = torch.tensor(data.draw(st.lists(values, min_size=n, max_size=n)), dtype=dtype)
    scores = scores.view(rows, size)
    able = None
    if data.draw(st.booleans()):
        bits = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
        able = torch.tensor(bits).view(rows, size)
    most = [size] * rows if able is None else able.sum(1).tolist()
    counts = [data.draw(st.integers(0, m)) for m in most]
    mask, edge = lowest_of_rows(scores, able, torch.tensor(counts), highest=highest, chunk=7)
    chosen = []
    for row in range(rows):
        pair = (scores[row], None if able is None else able[row])
        expected = reference([pair], counts[row], highest)[0]
        assert torch.equal(mask[row], expected)
        chosen += scores[row][expected].tolist()
    assert edge == ((min if highest else max)(chosen) if chosen else None)
