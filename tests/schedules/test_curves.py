"""Curves: tables, exact end points, ranges, reprs, errors."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import (
    Curve,
    constant,
    cosine,
    cubic,
    cyclic,
    exponential,
    join,
    linear,
    one_cycle,
    staircase,
)

FROM_TO = [linear, cosine, cubic, exponential, one_cycle]
VALUES = st.floats(-1e6, 1e6)
PROGRESS = st.floats(0, 1)


@pytest.mark.parametrize(
    ("curve", "progress", "value"),
    [
        (constant(0.9), 0.3, 0.9),
        (linear(0.2, 1), 0.25, 0.4),
        (linear(1, 0.2), 0.25, 0.8),
        (cosine(0.3, 0), 0.5, 0.15),
        (cosine(0, 1), 1 / 3, 0.25),
        (cubic(0, 0.9), 0.5, 0.7875),  # .9 (1 - 1/8)
        (cubic(0.5, 0.9), 0.5, 0.85),
        (cubic(0, 1), 0.1, 0.271),
        (exponential(1, 0.01), 0.5, 0.1),
        (exponential(0, 0.99), 0.5, 0.9),
        (exponential(0, 1), 0.5, 10 / 11),  # 1 - (.1 - .01) / .99
        (exponential(0, 0.75, ratio=0.25), 0.5, 0.5),
        (exponential(1, 4, ratio=4), 0.5, 2.0),
        (one_cycle(0, 1), 0.5, 0.73063757),  # (.73105858 - .00247262) / .99719203
        (one_cycle(0, 1), 6 / 14, 0.49892836),  # (1/2 - .00247262) / (.99966465 - .00247262)
        (staircase(linear(0, 1), 5), 0.39, 0.25),
        (staircase(linear(0, 1), 5), 0.4, 0.5),
        (staircase(linear(0, 1), 2), 0.49, 0.0),
        (staircase(linear(0, 1), 2), 0.5, 1.0),
        (staircase(math.sqrt, 5), 0.3, 0.5),
        (cyclic(0, 0.8, 1), 0.25, 0.4),
        (cyclic(0, 0.8, 1), 0.5, 0.8),
        (cyclic(0, 0.8, 3), 2 / 3, 0.0),
        (cyclic(0, 0.8, 1.5), 1.0, 0.8),
        (cyclic(0.8, 0, 1), 0.5, 0.0),
        (join((linear(0, 1), 0.5), (linear(1, 0), 1.0)), 0.25, 0.5),
        (join((linear(0, 1), 0.5), (linear(1, 0), 1.0)), 0.5, 1.0),
        (join((linear(0, 1), 0.5), (linear(1, 0), 1.0)), 0.875, 0.25),
        (join((constant(0), 0.5), (constant(1), 1)), 0.4999, 0.0),
        (join((constant(0), 0.5), (constant(1), 1)), 0.5, 1.0),
        (join((math.sqrt, 1.0)), 0.25, 0.5),
    ],
)
def test_table(curve: Curve, progress: float, value: float) -> None:
    assert curve(progress) == pytest.approx(value, abs=1e-7)
    assert isinstance(curve(progress), float)


def test_cubic_is_agp_in_exact_fractions() -> None:
    for k in range(101):
        p = Fraction(k, 100)
        exact = Fraction(9, 10) + (Fraction(1, 5) - Fraction(9, 10)) * (1 - p) ** 3
        assert cubic(0.2, 0.9)(k / 100) == pytest.approx(float(exact), abs=1e-15)


@pytest.mark.parametrize("make", FROM_TO)
@given(a=VALUES, b=VALUES, p=PROGRESS, q=PROGRESS)
def test_from_a_to_b(make, a: float, b: float, p: float, q: float) -> None:
    curve = make(a, b)
    assert curve(0) == a
    assert curve(1) == b
    assert min(a, b) <= curve(p) <= max(a, b)
    # Monotone up to rounding.
    early, late = curve(min(p, q)), curve(max(p, q))
    slack = 1e-12 * (1 + abs(a) + abs(b))
    assert late >= early - slack if b >= a else late <= early + slack


def test_cyclic_rests_exactly_at_zero() -> None:
    for halves in range(1, 201):
        curve = cyclic(0, 1, halves / 2)
        values = [curve(turn / halves) for turn in range(halves + 1)]
        assert values == [turn % 2 for turn in range(halves + 1)]


@given(low=VALUES, high=VALUES, halves=st.integers(1, 40))
def test_cyclic_turns_exactly(low: float, high: float, halves: int) -> None:
    curve = cyclic(low, high, halves / 2)
    values = [curve(turn / halves) for turn in range(halves + 1)]
    assert values == [high if turn % 2 else low for turn in range(halves + 1)]


@given(a=VALUES, b=VALUES, steps=st.integers(2, 200))
def test_staircase_changes_exactly_at_its_steps(a: float, b: float, steps: int) -> None:
    curve, inner = staircase(linear(a, b), steps), linear(a, b)
    levels = [inner(i / (steps - 1)) for i in range(steps)]
    assert [curve(i / steps) for i in range(steps)] == levels
    assert [curve((i + 0.5) / steps) for i in range(steps)] == levels
    assert (curve(0), curve(1)) == (a, b)


@given(untils=st.lists(st.integers(1, 99), unique=True), p=PROGRESS)
def test_join_of_one_line_in_pieces_is_the_line(untils: list[int], p: float) -> None:
    ends = [u / 100 for u in sorted(untils)] + [1.0]
    starts = [0.0, *ends[:-1]]
    curve = join(*((linear(s, e), e) for s, e in zip(starts, ends, strict=True)))
    assert curve(p) == pytest.approx(p, abs=1e-8)
    assert [curve(e) for e in ends] == ends


ALL = [
    (constant(0.9), "constant(0.9)"),
    (linear(0, 0.9), "linear(0, 0.9)"),
    (cosine(0.3, 0.0), "cosine(0.3, 0.0)"),
    (cubic(0, 0.9), "cubic(0, 0.9)"),
    (exponential(0, 0.9), "exponential(0, 0.9)"),
    (exponential(0, 0.9, ratio=0.1), "exponential(0, 0.9, ratio=0.1)"),
    (one_cycle(0, 0.9), "one_cycle(0, 0.9)"),
    (staircase(cubic(0, 0.9), 5), "staircase(cubic(0, 0.9), 5)"),
    (cyclic(0, 0.9, 2), "cyclic(0, 0.9, 2)"),
    (
        join((cubic(0, 0.9), 0.5), (constant(0.9), 1.0)),
        "join((cubic(0, 0.9), 0.5), (constant(0.9), 1.0))",
    ),
]
NAMES = {f.__name__: f for f in (*FROM_TO, constant, staircase, cyclic, join)}


@pytest.mark.parametrize(("curve", "text"), ALL)
def test_repr_is_the_call(curve: Curve, text: str) -> None:
    assert repr(curve) == text
    assert eval(text, NAMES) == curve
    assert hash(eval(text, NAMES)) == hash(curve)
    assert pickle.loads(pickle.dumps(curve)) == curve


@pytest.mark.parametrize(("curve", "text"), ALL)
def test_progress_is_clamped_and_nan_refused(curve: Curve, text: str) -> None:
    assert curve(-0.5) == curve(-math.inf) == curve(0)
    assert curve(1.5) == curve(math.inf) == curve(1)
    with pytest.raises(ValueError, match="progress is NaN"):
        curve(math.nan)


def test_kinds_differ() -> None:
    assert linear(0, 1) != cubic(0, 1)
    assert cubic(0, 1) == cubic(0.0, 1.0)
    assert repr(staircase(math.sqrt, 3)) == "staircase(sqrt, 3)"


@pytest.mark.parametrize("make", FROM_TO)
@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (math.nan, 1, ValueError, r"\(a\): nan must be finite"),
        (0, math.inf, ValueError, r"\(b\): inf must be finite"),
        (0, 10**400, ValueError, r"\(b\): 10+ must be finite"),
        ("0", 1, TypeError, r"\(a\): '0' must be a number, not str"),
        (0, True, TypeError, r"\(b\): True must be a number, not bool"),
        (None, 1, TypeError, "not NoneType"),
    ],
)
def test_ends_are_finite_numbers(make, a, b, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=make.__name__ + ".*" + message):
        make(a, b)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: constant("0.9"), TypeError, r"constant\(value\): '0.9'"),
        (lambda: exponential(0, 1, ratio=0), ValueError, r"ratio\): 0 must be above 0"),
        (lambda: exponential(0, 1, ratio=-1), ValueError, r"ratio\): -1"),
        (lambda: exponential(0, 1, ratio=1), ValueError, "write linear"),
        (lambda: exponential(0, 1, ratio=math.nan), ValueError, "nan must be finite"),
        (lambda: staircase(0.9, 3), TypeError, r"0.9 is a number; write constant\(0.9\)"),
        (lambda: staircase("cubic", 3), TypeError, "'cubic' must be a curve, not str"),
        (lambda: staircase(cubic(0, 1), 1), ValueError, r"steps\): 1 must be at least 2"),
        (lambda: staircase(cubic(0, 1), 2.0), TypeError, "2.0 must be an int, not float"),
        (lambda: cyclic(0, 1, 0), ValueError, "0 must be a positive multiple of 1/2"),
        (lambda: cyclic(0, 1, -1), ValueError, "-1 must be a positive"),
        (lambda: cyclic(0, 1, 0.3), ValueError, "0.3 must be a positive multiple"),
        (lambda: cyclic(math.nan, 1, 1), ValueError, r"cyclic\(low\): nan"),
        (lambda: join(), ValueError, r"join\(\): give at least one"),
        (lambda: join(cubic(0, 1)), TypeError, r"part 0\): cubic\(0, 1\) must be a pair"),
        (lambda: join((0.9, 1.0)), TypeError, r"part 0\): 0.9 is a number"),
        (lambda: join((cubic(0, 1), 0.5)), ValueError, "the last until=0.5 must be 1"),
        (lambda: join((cubic(0, 1), 1.5)), ValueError, "the last until=1.5 must be 1"),
        (lambda: join((cubic(0, 1), 0.0)), ValueError, "until=0.0 must be above 0.0"),
        (lambda: join((linear(0, 1), 0.5), (linear(0, 1), 0.5)), ValueError, "part 1.*above 0.5"),
        (lambda: join((cubic(0, 1), "1")), TypeError, r"part 0, until\): '1'"),
        (lambda: join((cubic(0, 1), math.nan)), ValueError, "nan must be finite"),
    ],
)
def test_refused(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the value at progress 0\.0 is nan"):
        staircase(lambda p: math.nan, 3)(0.0)
