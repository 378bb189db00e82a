"""Compiled functions against the torch operations that they stand for."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.choosing import bracket, groups, scan
from sleepengine.enforcement import bit_masks
from sleepengine.masks import bit_values, bits
from sleepengine.masks.native import covers, fits, native

DTYPES = [torch.int8, torch.float16, torch.bfloat16, torch.float32, torch.float64]
SIZES = [0, 1, 7, 8, 63, 64, 65, 200, 1031]
needed = pytest.mark.skipif(native() is None, reason="no compiler here")


@pytest.fixture
def plain(monkeypatch):
    """A function that runs another one without the compiled functions."""

    def run(function, *args, **kwargs):
        with monkeypatch.context() as patch:
            for module in (bit_masks, bit_values, scan, groups):
                patch.setattr(module, "native", lambda: None)
            return function(*args, **kwargs)

    return run


def values(n, dtype, seed):
    raw = np.random.default_rng(seed).bytes(n * dtype.itemsize)
    return torch.frombuffer(bytearray(raw), dtype=dtype) if n else torch.empty(0, dtype=dtype)


def chosen(n, share, seed):
    return bits.pack(torch.from_numpy(np.random.default_rng(seed + 1).random(n) < share))


def same(a, b):
    return torch.equal(bit_values.integer_view(a), bit_values.integer_view(b))


@needed
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_function_writes_the_same_bits(plain, dtype, n, share):
    at, x, y = chosen(n, share, n), values(n, dtype, 2), values(n, dtype, 3)
    expander = bit_masks.Expander()

    def everything():
        found = []
        a, b = x.clone(), y.clone()
        bit_masks.and_(a, bit_masks.AndMask(at, a, expander))
        found.append(a)
        a = x.clone()
        dropping = bit_masks.AndMask(None, a, expander, drop=at)
        bit_masks.and_(a, dropping)
        found += [a, dropping.bits]
        a = x.clone()
        bit_masks.restore_(a, dropping, y)
        found.append(a)
        a = x.clone()
        bit_masks.restore_(a, bit_masks.AndMask(at, a, expander), y)
        found.append(a)
        for value in (0, 1):
            a = x.clone()
            bit_masks.fill_where_(a, at, value, expander)
            found.append(a)
        a = x.clone()
        bit_masks.copy_where_(a, y, at, expander)
        found.append(a)
        a = x.clone()
        bit_values.clear_(a, at)
        found.append(a)
        for clear in (False, True):
            a, b = bit_values.integer_view(x.clone()), bit_values.integer_view(y.clone())
            bit_values.move_(a, b, at, clear_source=clear, target_is_zero=False)
            c = bit_values.integer_view(x.clone())
            found += [a, b, bit_values.move_to_new_(c, at, clear_source=clear), c]
        taken = bit_values.gather(bit_values.integer_view(x), at)
        b = bit_values.integer_view(y.clone())
        bit_values.scatter_(b, at, taken)
        count = bit_masks.nonzero_where(x, at, expander)
        return [*found, taken, b, torch.tensor(count)]

    for ours, theirs in zip(everything(), plain(everything), strict=True):
        assert same(ours, theirs)


@needed
def test_a_mask_of_bits_that_others_hold_costs_nothing():
    x = torch.ones(64)
    at = chosen(64, 0.5, 0)
    assert bit_masks.AndMask(at, x, bit_masks.Expander()).nbytes == 8
    assert bit_masks.AndMask(None, x, bit_masks.Expander(), drop=at).nbytes == 0


@needed
def test_writes_are_seen_by_autograd():
    x = torch.ones(16)
    at, before = chosen(16, 0.5, 0), x._version
    bit_masks.and_(x, bit_masks.AndMask(at, x, bit_masks.Expander()))
    bit_values.clear_(x, at)
    assert x._version == before + 2


@needed
@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4).filter(lambda s: sum(s) > 0),
    kinds=st.integers(1, 400),
    share=st.floats(0.0, 1.0),
    highest=st.booleans(),
    barred=st.booleans(),
    seed=st.integers(0, 99),
)
def test_selection_is_that_of_a_stable_sort(sizes, kinds, share, highest, barred, seed):
    random = np.random.default_rng(seed)
    pairs = []
    for n in sizes:
        scores = torch.from_numpy((random.integers(-kinds, kinds, n) / 8).astype(np.float32))
        may = torch.from_numpy(random.random(n) < 0.7) if barred else None
        pairs.append((scores, may))
    able = sum(s.numel() if e is None else int(e.sum()) for s, e in pairs)
    k = round(share * able)
    if k == 0:
        return
    found = bracket.bracket_lowest(pairs, k, able, highest=highest, chunk=64, sample=64)
    flat = torch.cat([s for s, _ in pairs]).double() * (-1 if highest else 1)
    allowed = torch.cat([torch.ones_like(s, dtype=bool) if e is None else e for s, e in pairs])
    order = flat.masked_fill(~allowed, float("inf")).argsort(stable=True)
    order = order[allowed[order]][:k]
    expected = torch.zeros(len(flat), dtype=bool)
    expected[order] = True
    assert torch.equal(torch.cat(found.masks), expected)


@needed
def test_a_bracket_with_more_inside_than_expected_is_scanned_again():
    scores = torch.arange(1000.0).flip(0)
    out = torch.empty(1000, dtype=torch.bool)
    ends = scan.Bracket(np.float32(10), np.float32(20), False)
    found = scan.scan_compiled([(scores, None)], ends, [out.numpy()], highest=False, room=2)
    assert (found.below, found.spots.tolist()) == (10, list(range(979, 990)))
    assert found.inside.tolist() == list(map(float, range(20, 9, -1)))


@needed
@pytest.mark.parametrize("drop", [0, 1, 2, 3, 4])
def test_groups_of_four(plain, drop):
    scores = torch.randint(-3, 3, (31, 44), generator=torch.Generator().manual_seed(drop)).float()
    ours = groups.lowest_of_groups("w", scores, 4, drop)
    assert torch.equal(ours, plain(groups.lowest_of_groups, "w", scores, 4, drop))


def test_what_may_be_given():
    x = torch.zeros(4, 4)
    assert fits(x)
    assert fits(torch.nn.Parameter(x))
    assert not fits(x.t()[1:])
    one = torch.zeros(2, dtype=torch.uint8)
    assert covers(one, x)
    assert not covers(one[:1], x)
    assert not covers(one, x, x[0])


def test_it_can_be_switched_off():
    code = "from sleepengine.masks.native import native; print(native())"
    environment = {**os.environ, "SLEEPENGINE_NATIVE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"
