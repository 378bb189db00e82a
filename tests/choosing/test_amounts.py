"""Counts from amounts, by eye, and what amounts refuse."""

from __future__ import annotations

import math

import pytest

from schedules.curves import cosine, linear
from sleepengine.choosing import Tally, below, by, count, nearest, rate, to
from sleepengine.errors import ScheduleError, SetupError


def _quota(amount, units, eligible, asleep, highest=False):
    return amount.quota(Tally(units, eligible, asleep), highest=highest, carry=0.0)


@pytest.mark.parametrize(
    ("f", "n", "k"),
    [(0.5, 1, 1), (0.5, 3, 2), (0.5, 5, 3), (0.3, 5, 2), (0.9, 10, 9), (0.04, 12, 0), (1, 7, 7)],
)
def test_a_half_rounds_up(f, n, k):
    assert nearest(f, n) == k
    assert _quota(to(f), n, n, 0) == (k, 0.0)
    assert _quota(by(f), 99, n, 0) == (k, 0.0)


@pytest.mark.parametrize(
    ("amount", "asleep", "sleep", "wake"),
    [
        (to(0.8), 0, 8, 0),
        (to(0.8), 5, 3, 0),
        (to(0.8), 8, 0, 0),
        (to(0.8), 10, 0, 2),
        (to(0), 4, 0, 4),
        (to(1), 4, 6, 0),
    ],
)
def test_sleep_never_wakes_and_wake_never_sleeps(amount, asleep, sleep, wake):
    assert _quota(amount, 10, 10 - asleep, asleep)[0] == sleep
    assert _quota(amount, 10, asleep, asleep, highest=True)[0] == wake


def test_by_goes_by_the_eligible_and_count_by_nothing():
    assert _quota(by(0.25), 100, 8, 0) == (2, 0.0)
    assert _quota(count(3), 100, 8, 0) == (3, 0.0)


def test_a_rate_loses_nothing_over_many_firings():
    carry, total = 0.0, 0
    for _ in range(1000):
        k, carry = rate(0.1).quota(Tally(7, 7, 0), highest=False, carry=carry)
        assert 0.0 <= carry < 1.0
        total += k
    assert total == 700


def test_a_rate_never_asks_for_more_than_there_is():
    assert rate(1.0).quota(Tally(3, 2, 0), highest=False, carry=0.9) == (2, pytest.approx(0.9))
    k, carry = rate(1.0).quota(Tally(3, 0, 0), highest=False, carry=0.9)
    assert (k, carry) == (0, 0.9)


@pytest.mark.parametrize("make", [to, by, rate])
def test_curves_are_read_at_their_progress(make):
    amount = make(linear(0.2, 0.6))
    assert amount.target(0.5) == pytest.approx(0.4)
    assert amount.at(0.5) == make(amount.target(0.5))
    assert make(0.3).at(0.5) == make(0.3)
    assert make(0.3).target(0.9) == 0.3


def test_counts_and_thresholds_follow_curves_and_have_no_share():
    assert count(linear(1, 4)).at(0.5) == count(3)
    assert below(linear(0, 4)).at(0.25) == below(1.0)
    assert count(3).at(0.5) == count(3)
    assert below(3).at(0.5) == below(3.0)
    for amount in (count(3), below(3), count(linear(1, 4)), below(linear(0, 4))):
        assert amount.target(0.5) is None


def test_a_curve_may_miss_the_end_by_its_rounding_only():
    assert to(lambda p: 1.0 + 2e-16 * p).at(1.0) == to(1.0)
    assert to(lambda p: -1e-17).at(1.0) == to(0.0)
    with pytest.raises(ScheduleError, match="fractions run from 0 to 1"):
        to(lambda p: 1.001).at(0.5)


@pytest.mark.parametrize("text", ["to(0.9)", "by(0.3)", "rate(0.0001)", "count(7)", "below(0.025)"])
def test_a_repr_is_the_call(text):
    amount = eval(text)
    assert repr(amount) == text
    assert amount == eval(text)
    assert hash(amount) == hash(eval(text))


def test_a_repr_shows_the_curve():
    assert repr(by(cosine(0.3, 0.0))).startswith("by(cosine(0.3")


@pytest.mark.parametrize("make", [to, by, rate])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (90, r"\(90\): fractions run from 0 to 1: write 0.9, not 90"),
        (2.5, r"\(2.5\): fractions run from 0 to 1: write 0.025, not 2.5"),
        (-0.1, "fractions run from 0 to 1"),
        (1000, "fractions run from 0 to 1"),
        (math.nan, "fractions run from 0 to 1"),
        ("90%", "give a number from 0 to 1 or a curve"),
        (True, "give a number from 0 to 1 or a curve"),
        (None, "give a number from 0 to 1 or a curve"),
    ],
)
def test_a_share_that_is_none_raises(make, value, message):
    with pytest.raises(SetupError, match=make.__name__ + ".*" + message):
        make(value)


def test_a_percent_in_a_curve_raises_when_it_is_read():
    with pytest.raises(ScheduleError, match=r"is 90 at progress 1: .*: write 0.9, not 90"):
        to(lambda p: 90 * p).at(1.0)


@pytest.mark.parametrize("value", [-1, 2.0, "3", True, None])
def test_a_count_that_is_none_raises(value):
    with pytest.raises(SetupError, match="whole number of units, 0 or more"):
        count(value)


@pytest.mark.parametrize("value", [math.nan, "3", True, None])
def test_a_threshold_that_is_none_raises(value):
    with pytest.raises(SetupError, match="the threshold is a number"):
        below(value)


@pytest.mark.parametrize("amount", [count(lambda p: -1), count(lambda p: math.inf)])
def test_a_count_curve_below_zero_raises(amount):
    with pytest.raises(ScheduleError, match="counts start at 0"):
        amount.at(0.0)


def test_a_threshold_curve_that_is_no_number_raises():
    with pytest.raises(ScheduleError, match="not a number at progress 0"):
        below(lambda p: math.nan).at(0.0)


@pytest.mark.parametrize("amount", [to(lambda p: p), by(lambda p: p), rate(lambda p: p)])
def test_a_curve_has_no_quota_of_its_own(amount):
    with pytest.raises(SetupError, match=r"replace it with .at\(progress\) first"):
        _quota(amount, 10, 10, 0)


def test_a_threshold_has_no_quota():
    with pytest.raises(SetupError, match="has no quota"):
        _quota(below(1), 10, 10, 0)
