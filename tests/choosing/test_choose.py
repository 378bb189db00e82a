"""Exact counts for every amount in every pool, the floor, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepengine.choosing import (
    ER,
    ERK,
    Blocks,
    Columns,
    Factors,
    Global,
    MeanScore,
    NofM,
    PerRow,
    PerTensor,
    Rows,
    Uniform,
    Weights,
    below,
    by,
    choose,
    count,
    nearest,
    rate,
    to,
)
from sleepengine.errors import CollapseError, ScheduleError, SetupError

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


def test_below_takes_the_threshold_itself_and_leaves_the_best():
    scores = {"a": torch.tensor([0.1, 0.2, 0.1]), "b": torch.tensor([0.0, 0.1, 0.1])}
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        typed = {n: s.to(dtype) for n, s in scores.items()}
        chosen = choose(typed, GLOBAL, below(0.1), asleep={}, eligible={})
        # Every unit of b is low: its last best one stays.
        assert chosen.masks["a"].tolist() == [True, False, True]
        assert chosen.masks["b"].tolist() == [True, True, False]
    free = choose(scores, TENSOR, below(0.1), asleep={}, eligible={}, keep_one=False)
    assert free.masks["b"].tolist() == [True, True, True]
    assert choose(scores, TENSOR, below(-1), asleep={}, eligible={}).threshold is None
    closed = {"a": torch.tensor([False, True, True])}
    some = choose(scores, TENSOR, below(0.3), asleep={}, eligible=closed)
    assert some.masks["a"].tolist() == [False, True, True]


def test_the_floor_moves_the_quota_to_the_next_lowest():
    scores = {"small": torch.tensor([1.0, 2.0]), "big": torch.tensor([3.0, 4.0, 5.0])}
    chosen = choose(scores, GLOBAL, count(3), asleep={}, eligible={})
    assert chosen.masks["small"].tolist() == [True, False]
    assert chosen.masks["big"].tolist() == [True, True, False]
    assert chosen.threshold == 4.0
    bare = choose(scores, GLOBAL, count(3), asleep={}, eligible={}, keep_one=False)
    assert bare.masks["small"].tolist() == [True, True]


def test_the_floor_among_equals_keeps_the_last():
    scores = {n: torch.zeros(3) for n in "ab"}
    chosen = choose(scores, GLOBAL, count(4), asleep={}, eligible={})
    assert [m.tolist() for m in chosen.masks.values()] == [[True, True, False]] * 2


def test_a_closed_awake_unit_is_floor_enough_and_a_sleeping_one_is_not():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0])}
    closed = {"a": torch.tensor([True, True, False])}
    chosen = choose(scores, GLOBAL, count(2), asleep={}, eligible=closed)
    assert chosen.masks["a"].tolist() == [True, True, False]
    asleep = {"a": torch.tensor([False, False, True])}
    with pytest.raises(CollapseError, match="'a'"):
        choose(scores, GLOBAL, count(2), asleep=asleep, eligible={})


def test_a_quota_that_would_empty_tensors_names_them_and_the_numbers():
    scores = {"fc1": torch.zeros(4), "fc2": torch.zeros(2)}
    message = (
        r"Choosing 5 units would empty 'fc1' \(4 of 4 may be chosen, 0 asleep\)\. "
        r"With one awake unit kept in each tensor 4 can be chosen"
    )
    with pytest.raises(CollapseError, match=message):
        choose(scores, GLOBAL, count(5), asleep={}, eligible={})
    with pytest.raises(CollapseError, match="'fc2'"):
        choose(scores, TENSOR, to(0.8), asleep={}, eligible={})
    with pytest.raises(CollapseError, match="'fc1'"):
        choose({"fc1": torch.zeros(2, 2)}, ROW, to(1.0), asleep={}, eligible={})
    chosen = choose(scores, TENSOR, to(1.0), asleep={}, eligible={}, keep_one=False)
    assert all(bool(m.all()) for m in chosen.masks.values())


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW], ids=repr)
def test_more_than_may_be_chosen_raises(pool):
    closed = {"w": torch.zeros(2, 4, dtype=torch.bool)}
    message = r"4 units are asked for|8 units are asked for"
    with pytest.raises(ScheduleError, match=f"({message}) and 0 may be chosen: 'w"):
        choose({"w": torch.ones(2, 4)}, pool, to(1.0), asleep={}, eligible=closed)


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


def test_missing_masks_mean_all():
    scores = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    asleep = {"a": torch.tensor([True, True, False, False])}
    slept = choose(scores, GLOBAL, count(1), asleep=asleep, eligible={}).masks["a"]
    woken = choose(scores, GLOBAL, count(1), asleep=asleep, eligible={}, highest=True).masks["a"]
    assert slept.tolist() == [False, False, True, False]
    assert woken.tolist() == [False, True, False, False]


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW, NofM(2, 4)], ids=repr)
def test_nothing_is_written_and_masks_fit(pool):
    scores = _scores("ties")
    before = {n: s.clone() for n, s in scores.items()}
    asleep = {"a": torch.zeros(SHAPES["a"], dtype=torch.bool)}
    able = {"b": torch.ones(SHAPES["b"], dtype=torch.bool)}
    amount = None if isinstance(pool, NofM) else to(0.5)
    chosen = choose(scores, pool, amount, asleep=asleep, eligible=able)
    assert list(chosen.masks) == list(SHAPES)
    for name, mask in chosen.masks.items():
        assert mask.dtype == torch.bool
        assert mask.shape == SHAPES[name]
        assert torch.equal(scores[name], before[name])
    assert not asleep["a"].any()
    assert able["b"].all()


@pytest.mark.parametrize("units", [Weights(), Rows(), Columns(), Blocks((1, 2))], ids=repr)
@pytest.mark.parametrize(
    "pool",
    [GLOBAL, TENSOR, ROW, PerTensor(ERK()), PerTensor(ER()), PerTensor(Factors({"a": 0.5}))],
    ids=repr,
)
def test_units_and_pools_are_independent_or_refused_when_built(units, pool):
    if pool is ROW and isinstance(units, (Rows, Columns)):
        with pytest.raises(SetupError, match="nothing to compare in a row"):
            pool.check(units, to(0.5))
        return
    pool.check(units, to(0.5))
    scores = units.pool(_scores("distinct"))
    chosen = choose(scores, pool, to(0.5), asleep={}, eligible={}, shapes=SHAPES)
    weights = units.spread(chosen.masks, {n: torch.Size(s) for n, s in SHAPES.items()})
    for name, mask in chosen.masks.items():
        share = int(mask.sum()) / mask.numel()
        assert int(weights[name].sum()) == pytest.approx(share * math.prod(SHAPES[name]))


@pytest.mark.parametrize("empty", [(0,), (0, 4), (3, 0)])
@pytest.mark.parametrize("pool", [GLOBAL, TENSOR], ids=repr)
def test_tensors_without_elements_take_part_in_nothing(pool, empty):
    scores = {"none": torch.zeros(empty), "w": torch.arange(4.0)}
    chosen = choose(scores, pool, to(0.5), asleep={}, eligible={})
    assert chosen.masks["none"].shape == empty
    assert chosen.masks["w"].tolist() == [True, True, False, False]


def test_no_tensors_give_no_masks():
    for pool in (GLOBAL, TENSOR, ROW, PerTensor(MeanScore())):
        chosen = choose({}, pool, to(0.5), asleep={}, eligible={}, highest=True)
        assert chosen.masks == {}
        assert chosen.threshold is None


@pytest.mark.parametrize("pool", [GLOBAL, TENSOR, ROW, PerTensor(Uniform())], ids=repr)
def test_pools_need_an_amount(pool):
    with pytest.raises(SetupError, match="needs an amount: to, by, count, rate or below"):
        pool.check(Weights(), None)
    with pytest.raises(SetupError, match="needs an amount"):
        choose({"w": torch.ones(2, 2)}, pool, None, asleep={}, eligible={})


def test_impossible_pairs_raise():
    with pytest.raises(SetupError, match=r"rate\(0.1\) keeps a remainder for every pool"):
        PerRow().check(Weights(), rate(0.1))
    for pool in (GLOBAL, TENSOR, ROW):
        with pytest.raises(SetupError, match=r"below\(0.1\) picks low scores"):
            pool.check(Weights(), below(0.1), highest=True)
    with pytest.raises(SetupError, match=r"PerRow\(\) needs 2 or more dimensions: 'b'"):
        choose({"b": torch.ones(3)}, ROW, to(0.5), asleep={}, eligible={})
    with pytest.raises(SetupError, match="replace it with"):
        choose({"b": torch.ones(3)}, GLOBAL, to(lambda p: p), asleep={}, eligible={})


@pytest.mark.parametrize(
    ("what", "mask", "message"),
    [
        ("asleep", torch.zeros(3), r"asleep\['w'\] is torch.float32; masks are torch.bool"),
        ("eligible", torch.zeros(2, dtype=torch.bool), r"eligible\['w'\] has shape \(2,\)"),
        ("asleep", torch.zeros(3, dtype=torch.bool, device="meta"), "is on meta"),
    ],
)
def test_masks_that_do_not_fit_raise(what, mask, message):
    masks = {"asleep": {}, "eligible": {}, what: {"w": mask}}
    with pytest.raises(SetupError, match=message):
        choose({"w": torch.ones(3)}, GLOBAL, to(0.5), **masks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nan_scores_are_named_and_infinities_are_not(dtype):
    fine = {"a": torch.tensor([math.inf, -math.inf, 1.0], dtype=dtype)}
    assert choose(fine, GLOBAL, count(1), asleep={}, eligible={}).masks["a"][1]
    wrong = {**fine, "fc.weight": torch.tensor([1.0, math.nan, math.nan], dtype=dtype)}
    with pytest.raises(SetupError, match=r"2 of 3 scores of 'fc\.weight' are NaN"):
        choose(wrong, GLOBAL, count(1), asleep={}, eligible={})


def test_complex_scores_are_refused():
    with pytest.raises(SetupError, match=r"'a' are torch\.complex64; scores are real"):
        choose({"a": torch.ones(2, dtype=torch.complex64)}, GLOBAL, to(0), asleep={}, eligible={})
