"""Shares per tensor against closed forms, and the exact division of a total."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sleepengine.choosing import (
    ER,
    ERK,
    Factors,
    MeanScore,
    PerTensor,
    Uniform,
    by,
    choose,
    count,
    nearest,
    rate,
    to,
)
from sleepengine.choosing.mean_score import divide
from sleepengine.errors import ScheduleError, SetupError, UnknownNameError

LENET = {"fc1.weight": (300, 784), "fc2.weight": (100, 300), "fc3.weight": (10, 100)}


def _zeros(shapes):
    return {n: torch.zeros(s) for n, s in shapes.items()}


def _counts(pools, amount, scores, asleep=None, highest=False):
    chosen = choose(
        scores, pools, amount, asleep=asleep or {}, eligible=asleep or {}, highest=highest
    )
    return [int(m.sum()) for m in chosen.masks.values()]


def test_lenet_at_ninety_percent_by_erk():
    shares = ERK().fractions(0.9, LENET)
    assert [round(f, 6) for f in shares.values()] == [0.920432, 0.769811, 0.0]
    counts = _counts(PerTensor(ERK()), to(0.9), _zeros(LENET))
    sizes = [math.prod(s) for s in LENET.values()]
    assert counts == [nearest(f, n) for f, n in zip(shares.values(), sizes, strict=True)]
    assert abs(sum(counts) - 0.9 * sum(sizes)) <= 1.5


def test_erk_without_clamp_is_the_closed_form():
    shapes = {"a": (40, 20), "b": (30, 30)}
    # sum(dims): 60 and 60, so both keep 0.1 * 1700 / 2 = 85 weights.
    shares = ERK().fractions(0.9, shapes)
    assert shares == {"a": pytest.approx(1 - 85 / 800), "b": pytest.approx(1 - 85 / 900)}


def test_er_counts_neurons_and_erk_the_kernel_as_well():
    shapes = {"a": (10, 10, 3, 3), "b": (10, 10, 1, 1)}
    er, erk = ER().fractions(0.7, shapes), ERK().fractions(0.7, shapes)
    assert er["a"] == pytest.approx(er["b"]) == pytest.approx(0.7)
    # sum(dims) / prod(dims) is 26 / 900 and 22 / 100, so eps = 300 / 48 would make b 137 % dense.
    assert erk["b"] == 0.0
    assert erk["a"] == pytest.approx(1 - (300 - 100) / 900)


@pytest.mark.parametrize("shares", [ER(), ERK()], ids=repr)
@pytest.mark.parametrize("f", [0.0, 0.1, 0.5, 0.9, 0.99, 1.0])
def test_the_shares_together_are_what_was_asked(shares, f):
    shapes = {**LENET, "conv": (16, 8, 3, 3), "small": (2, 3)}
    found = shares.fractions(f, shapes)
    total = sum(math.prod(s) for s in shapes.values())
    assert all(0.0 <= v <= 1.0 for v in found.values())
    assert sum(v * math.prod(shapes[n]) for n, v in found.items()) == pytest.approx(f * total)


@pytest.mark.parametrize("shares", [Uniform(), ER(), ERK()], ids=repr)
def test_shares_of_layout_change_to_alone(shares):
    assert _counts(PerTensor(shares), by(0.5), _zeros({"a": (2, 2), "b": (6, 6)})) == [2, 18]
    assert _counts(PerTensor(shares), count(3), _zeros({"a": (2, 2), "b": (6, 6)})) == [3, 3]


def test_factors_change_every_share_and_multiply():
    shares = Factors({"fc3*": 0.5, "*.weight": 0.5})
    assert shares.fractions(0.4, LENET) == {
        "fc1.weight": pytest.approx(0.2),
        "fc2.weight": pytest.approx(0.2),
        "fc3.weight": pytest.approx(0.1),
    }
    small = _zeros({"a": (10,), "b": (10,)})
    for amount in (to(0.4), by(0.4), rate(0.4)):
        assert _counts(PerTensor(Factors({"b": 0.5})), amount, small) == [4, 2]


def test_shares_go_by_the_parameter_and_counts_by_the_units():
    rows = {n: torch.zeros(s[0]) for n, s in LENET.items()}
    pools = PerTensor(ERK())
    chosen = choose(rows, pools, to(0.9), asleep={}, eligible={}, shapes=LENET)
    assert [int(m.sum()) for m in chosen.masks.values()] == [276, 77, 0]
    with pytest.raises(SetupError, match=r"ERK\(\) needs 2 or more dimensions: 'fc1.weight'"):
        choose(rows, pools, to(0.9), asleep={}, eligible={})


@pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf, "0.5", True])
def test_a_factor_that_is_none_raises(factor):
    with pytest.raises(SetupError, match=r"'fc\*' has factor"):
        Factors({"fc*": factor})


def test_a_pattern_that_matches_nothing_names_the_closest():
    with pytest.raises(UnknownNameError, match=r"'fc3.wieght' matches nothing.*'fc3.weight'"):
        Factors({"fc3.wieght": 0.5}).fractions(0.2, LENET)


def test_a_factor_that_leads_above_one_says_how_far_it_may_go():
    with pytest.raises(SetupError, match=r"'fc1\.weight' would have 1\.6 .* may be 1.25 at most"):
        Factors({"fc1*": 2}).fractions(0.8, LENET)


def test_impossible_pairs_raise_when_the_rule_is_built():
    with pytest.raises(SetupError, match=r"multiply a share, and count\(3\) is none"):
        PerTensor(Factors({"a": 0.5})).check(None, count(3))
    with pytest.raises(SetupError, match="use it in a rule that wakes"):
        PerTensor(MeanScore()).check(None, to(0.5), highest=False)
    PerTensor(MeanScore()).check(None, to(0.5))
    PerTensor(MeanScore()).check(None, to(0.5), highest=True)


def test_wakes_go_where_the_awake_units_score_highest():
    scores = {"a": torch.tensor([3.0, 3.0, 1.0, 2.0, 0.0]), "b": torch.tensor([1.0, 1, 9, 8, 7])}
    asleep = {n: torch.tensor([False, False, True, True, True]) for n in scores}
    # Means of the awake: 3 and 1. Six sleep of ten, two shall: four wakes, 3 and 1 of them.
    chosen = choose(
        scores, PerTensor(MeanScore()), to(0.2), asleep=asleep, eligible=asleep, highest=True
    )
    assert [m.int().tolist() for m in chosen.masks.values()] == [[0, 0, 1, 1, 1], [0, 0, 1, 0, 0]]
    # Five wakes: the first tensor has room for three, the fifth goes to the other.
    assert _counts(PerTensor(MeanScore()), count(5), scores, asleep, highest=True) == [3, 2]


def test_a_rate_keeps_one_remainder_for_the_whole_division():
    scores = {n: torch.ones(5) for n in "ab"}
    asleep = {n: torch.tensor([False, True, True, True, True]) for n in "ab"}
    carry, woken = 0.0, []
    for _ in range(4):
        chosen = choose(
            scores,
            PerTensor(MeanScore()),
            rate(0.0625),
            asleep=asleep,
            eligible=asleep,
            highest=True,
            carry=carry,
        )
        carry = chosen.carry
        woken.append(sum(int(m.sum()) for m in chosen.masks.values()))
    assert woken == [0, 1, 0, 1]


def test_means_below_zero_raise():
    scores = {"a": torch.tensor([-1.0, 0.0])}
    asleep = {"a": torch.tensor([False, True])}
    with pytest.raises(SetupError, match="'a' have the mean score -1"):
        _counts(PerTensor(MeanScore()), count(1), scores, asleep, highest=True)


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 1.0, 3.0, 1e-30, 1e30]), st.integers(0, 20)),
        min_size=1,
        max_size=6,
    ),
    share=st.floats(0, 1),
)
def test_a_division_is_exact_and_within_the_caps(parts, share):
    weights = {str(i): w for i, (w, _) in enumerate(parts)}
    caps = {str(i): c for i, (_, c) in enumerate(parts)}
    total = math.floor(share * sum(caps.values()))
    found = divide(total, weights, caps)
    assert sum(found.values()) == total
    assert all(0 <= found[n] <= caps[n] for n in caps)
    # A tensor with room has no less than one that weighs less, but for the last unit.
    for n in caps:
        for m in caps:
            if weights[n] >= weights[m] and found[n] < caps[n] and any(weights.values()):
                assert weights[m] == 0.0 == weights[n] or found[n] >= found[m] - 1


def test_without_weights_the_sleepers_are_counted():
    assert divide(6, {"a": 0.0, "b": 0.0}, {"a": 4, "b": 8}) == {"a": 2, "b": 4}
    with pytest.raises(ScheduleError, match="7 units are asked for and 6 may be chosen"):
        divide(7, {"a": 1.0}, {"a": 6})
