"""Exact counts for every amount in every pool."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.choosing import (
    Factors,
    Global,
    PerRow,
    PerTensor,
    by,
    choose,
    count,
    nearest,
    rate,
    to,
)
from sleepengine.errors import ScheduleError, SetupError

SHAPES = {"a": (6, 8), "b": (4, 12), "c": (3, 4, 2, 2)}
GLOBAL, TENSOR, ROW = Global(), PerTensor(), PerRow()
KINDS = ("distinct", "ties", "equal", "infinite")


def _scores(kind: str, dtype=torch.float32) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(7)
    found = {n: torch.rand(s, generator=random) for n, s in SHAPES.items()}
    if kind == "ties":
        found = {n: (s * 4).floor() for n, s in found.items()}
    elif kind == "equal":
        found = {n: torch.ones_like(s) for n, s in found.items()}
    elif kind == "infinite":
        found = {n: torch.where(s < 0.4, -math.inf, math.inf) for n, s in found.items()}
    return {n: s.to(dtype) for n, s in found.items()}


def _picked(chosen, pool):
    """Chosen units of every pool."""
    masks = chosen.masks
    if pool is GLOBAL:
        return [sum(int(m.sum()) for m in masks.values())]
    if pool is TENSOR:
        return [int(m.sum()) for m in masks.values()]
    return [int(row.sum()) for m in masks.values() for row in m]


def _sizes(pool):
    if pool is GLOBAL:
        return [sum(math.prod(s) for s in SHAPES.values())]
    if pool is TENSOR:
        return [math.prod(s) for s in SHAPES.values()]
    return [math.prod(s[1:]) for s in SHAPES.values() for _ in range(s[0])]


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("highest", [False, True])
@pytest.mark.parametrize("f", [0.0, 0.1, 0.25, 0.5, 0.77, 0.9])
def test_counts_are_exact_in_every_pool(pool, kind, highest, f):
    scores = _scores(kind)
    asleep = {n: torch.ones(s, dtype=torch.bool) for n, s in SHAPES.items()} if highest else {}

    def run(amount):
        return choose(scores, pool, amount, asleep=asleep, eligible=asleep, highest=highest)

    sizes = _sizes(pool)
    shares = [nearest(f, n) for n in sizes]
    left = [n - k for n, k in zip(sizes, shares, strict=True)]
    assert _picked(run(to(f)), pool) == (left if highest else shares)
    assert _picked(run(by(f)), pool) == shares
    assert _picked(run(count(3)), pool) == [3] * len(sizes)
    if pool is not ROW:
        assert _picked(run(rate(f)), pool) == [math.floor(f * n + 1e-9) for n in sizes]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW], ids=repr)
def test_every_type_of_score_counts_exactly(pool, dtype):
    scores = {n: (s * 100).to(dtype) for n, s in _scores("distinct").items()}
    chosen = choose(scores, pool, to(0.5), asleep={}, eligible={})
    assert _picked(chosen, pool) == [nearest(0.5, n) for n in _sizes(pool)]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    pool=st.sampled_from([GLOBAL, TENSOR, ROW]),
    highest=st.booleans(),
    f=st.floats(0, 1),
)
def test_targets_are_met_with_sleepers_and_closed_units(reference, data, pool, highest, f):
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    scores = {n: (torch.rand(s, generator=random) * 5).floor() for n, s in SHAPES.items()}
    part = data.draw(st.sampled_from([0.0, 0.3, 0.9]))
    asleep = {n: torch.rand(s, generator=random) < part for n, s in SHAPES.items()}
    able = {
        n: (asleep[n] if highest else ~asleep[n]) & (torch.rand(s, generator=random) < 0.8)
        for n, s in SHAPES.items()
    }
    amount = data.draw(st.sampled_from([to(f), by(f), count(2)]))
    try:
        chosen = choose(
            scores,
            pool,
            amount,
            asleep=asleep,
            eligible=able,
            highest=highest,
            keep_one=False,
        )
    except ScheduleError:
        chosen = None
    if pool is GLOBAL:
        groups = [[(n, ...) for n in SHAPES]]
    elif pool is TENSOR:
        groups = [[(n, ...)] for n in SHAPES]
    else:
        groups = [[(n, row)] for n in SHAPES for row in range(SHAPES[n][0])]
    short = False
    for group in groups:
        pairs = [(scores[n][at], able[n][at]) for n, at in group]
        units = sum(s.numel() for s, _ in pairs)
        slept = sum(int(asleep[n][at].sum()) for n, at in group)
        eligible = sum(int(e.sum()) for _, e in pairs)
        target = nearest(f, units)
        quota = {
            "to": max(0, slept - target) if highest else max(0, target - slept),
            "by": nearest(f, eligible),
            "co": 2,
        }[repr(amount)[:2]]
        short |= quota > eligible
        if chosen is not None:
            expected = reference(pairs, quota, highest)
            for (n, at), mask in zip(group, expected, strict=True):
                assert torch.equal(chosen.masks[n][at], mask)
    assert short == (chosen is None)


def test_lenet_levels_follow_the_published_fractions():
    # Twenty percent of the awake weights per level, ten in the output layer.
    pools = PerTensor(Factors({"fc3": 0.5}))
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    random = torch.Generator().manual_seed(0)
    scores = {n: torch.rand(s, generator=random) for n, s in shapes.items()}
    asleep = {n: torch.zeros(s, dtype=torch.bool) for n, s in shapes.items()}
    total = sum(s.numel() for s in scores.values())
    table = {}
    for level in range(1, 16):
        chosen = choose(scores, pools, by(0.2), asleep=asleep, eligible={})
        assert not any(bool((asleep[n] & m).any()) for n, m in chosen.masks.items())
        asleep = {n: asleep[n] | m for n, m in chosen.masks.items()}
        awake = [int((~m).sum()) for m in asleep.values()]
        table[level] = (awake, round(100 * sum(awake) / total, 4))
    assert table[1] == ([188160, 24000, 900], 80.0376)
    assert table[2] == ([150528, 19200, 810], 64.0639)
    assert table[7] == ([49325, 6291, 478], 21.0721)
    assert table[15] == ([8275, 1056, 206], 3.5826)


def test_a_global_pool_rounds_once_and_each_tensor_for_itself():
    scores = {n: torch.tensor([float(i)]) for i, n in enumerate("abcd")}
    lone = {"asleep": {}, "eligible": {}, "keep_one": False}
    assert sum(bool(m) for m in choose(scores, GLOBAL, to(0.5), **lone).masks.values()) == 2
    assert sum(bool(m) for m in choose(scores, TENSOR, to(0.5), **lone).masks.values()) == 4


def test_the_threshold_is_the_last_score_chosen():
    scores = {"a": torch.tensor([5.0, 1.0, 3.0]), "b": torch.tensor([4.0, 2.0, 6.0])}
    free = {"asleep": {}, "eligible": {}}
    assert choose(scores, GLOBAL, count(3), **free).threshold == 3.0
    assert choose(scores, GLOBAL, count(3), highest=True, **free).threshold == 4.0
    assert choose(scores, TENSOR, count(2), **free).threshold == 4.0
    assert choose(scores, TENSOR, count(2), highest=True, **free).threshold == 3.0
    assert choose(scores, GLOBAL, count(0), **free).threshold is None
    zero = choose({"a": torch.tensor([-0.0, 1.0])}, GLOBAL, count(1), **free).threshold
    assert math.copysign(1, zero) == 1.0


def test_rates_carry_over_in_every_tensor_alone():
    scores = {"a": torch.arange(4.0), "b": torch.arange(10.0)}
    carry, table = 0.0, []
    for _ in range(5):
        chosen = choose(scores, TENSOR, rate(0.125), asleep={}, eligible={}, carry=carry)
        carry = chosen.carry
        table.append([int(m.sum()) for m in chosen.masks.values()])
    # a: 0.5 a firing; b: 1.25 a firing.
    assert table == [[0, 1], [1, 1], [0, 1], [1, 2], [0, 1]]
    assert carry == {"a": 0.5, "b": 0.25}
    with pytest.raises(SetupError, match=r"Global\(\) is one pool with one remainder"):
        choose(scores, GLOBAL, rate(0.125), asleep={}, eligible={}, carry=carry)
