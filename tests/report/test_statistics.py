import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sleepengine.report.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    t_inside,
    t_quantile,
)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 29, 30, 99, 400])
@pytest.mark.parametrize("confidence", [0.01, 0.5, 0.8, 0.95, 0.99, 0.999])
def test_quantile_agrees_with_scipy(df, confidence):
    assert t_quantile(confidence, df) == pytest.approx(stats.t.ppf(0.5 + confidence / 2, df), 1e-9)


@given(st.floats(0.0, 50.0), st.integers(1, 60))
def test_probability_agrees_with_scipy(t, df):
    assert t_inside(t, df) == pytest.approx(1.0 - 2.0 * stats.t.sf(t, df), abs=1e-12)


@given(st.lists(st.floats(-100.0, 100.0), min_size=2, max_size=12))
def test_interval_agrees_with_scipy(values):
    interval = mean_interval(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    expected = stats.t.ppf(0.975, len(values) - 1) * error
    assert interval.half_width == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert interval.mean == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert interval.n == len(values)


def test_a_table_of_quantiles_that_every_textbook_has():
    found = [round(t_quantile(0.95, df), 3) for df in (1, 2, 3, 4, 9)]
    assert found == [12.706, 4.303, 3.182, 2.776, 2.262]


def test_one_value_has_no_half_width():
    interval = mean_interval([0.5])
    assert interval == Interval(0.5, None, 1)
    assert (interval.low, interval.high) == (0.5, 0.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_gives_no_interval(bad):
    interval = mean_interval([1.0, bad])
    assert math.isnan(interval.mean)
    assert interval.half_width is None


def test_pairs_are_matched_by_seed_not_by_order():
    first = {2: 5.0, 1: 3.0}
    second = {1: 1.0, 2: 3.0, 7: 100.0}
    assert paired_difference(first, second) == Interval(2.0, 0.0, 2)


def test_pairing_removes_what_the_seed_does():
    seeds = {seed: 10.0 * seed for seed in range(5)}
    better = {seed: value + 1.0 for seed, value in seeds.items()}
    gap = paired_difference(better, seeds)
    assert gap is not None
    assert (gap.mean, gap.half_width) == (1.0, 0.0)


def test_no_seed_in_common():
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_errors():
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.0"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match="start at 1, not 0"):
        t_quantile(0.95, 0)
