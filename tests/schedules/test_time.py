"""Time literals: what they mean, how they print, what is refused."""

from __future__ import annotations

import pickle
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import Clock, Time, as_time

CLOCK = Clock(steps_per_epoch=100, total_steps=1000)
COUNTS = st.integers(min_value=0, max_value=10**15 - 1)
PERCENTS = st.decimals(min_value=0, max_value=100, places=12)
TIMES = st.builds(Time, COUNTS, COUNTS) | st.builds(lambda p: Time(percent=p), PERCENTS)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("0it", 0),
        ("0ep", 0),
        ("1it", 1),
        ("500it", 500),
        ("007it", 7),
        ("10ep", 1000),
        ("3ep50it", 350),
        ("3ep500it", 800),
        ("0ep5it", 5),
        ("0%", 0),
        ("50%", 500),
        ("100%", 1000),
        ("12.5%", 125),
        ("0.05%", 1),  # half a step rounds up
        ("0.04%", 0),
        ("0.15%", 2),
        ("33.3%", 333),
    ],
)
def test_iterations(text: str, steps: int) -> None:
    assert Time.parse(text).iterations(CLOCK) == steps


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0ep", "0it"),
        ("0ep0it", "0it"),
        ("3ep0it", "3ep"),
        ("0ep7it", "7it"),
        ("007it", "7it"),
        ("12.50%", "12.5%"),
        ("100.0%", "100%"),
        ("10%", "10%"),
        ("0.000000000001%", "0.000000000001%"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert str(Time.parse(text)) == canonical
    assert Time.parse(text) == Time.parse(canonical)
    assert hash(Time.parse(text)) == hash(Time.parse(canonical))


@given(TIMES)
def test_round_trip(time: Time) -> None:
    assert Time.parse(str(time)) == time
    assert eval(repr(time), {"Time": Time}) == time
    assert pickle.loads(pickle.dumps(time)) == time


@given(COUNTS, COUNTS, st.integers(1, 10**6))
def test_counted_is_linear(epochs: int, steps: int, steps_per_epoch: int) -> None:
    clock = Clock(steps_per_epoch=steps_per_epoch)
    assert Time(epochs, steps).iterations(clock) == epochs * steps_per_epoch + steps


@given(PERCENTS, st.integers(1, 10**9))
def test_percent_is_the_nearest_step(percent: Decimal, total: int) -> None:
    steps = Time(percent=percent).iterations(Clock(total_steps=total))
    exact = percent * total / 100  # 12 + 9 digits: exact in 28
    assert -0.5 < exact - steps < 0.5 or exact - steps == Decimal("-0.5")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("500", r"Did you mean '500it' or '500ep'\?"),
        ("5 ep", r"Did you mean '5ep'\?"),
        (" 5it", r"Did you mean '5it'\?"),
        ("10epochs", r"Did you mean '10ep'\?"),
        ("10epoch", r"Did you mean '10ep'\?"),
        ("10epcohs", r"Did you mean '10ep'\?"),
        ("20EP", r"Did you mean '20ep'\?"),
        ("10steps", r"Did you mean '10it'\?"),
        ("10iters", r"Did you mean '10it'\?"),
        ("50 %", r"Did you mean '50%'\?"),
        ("12.5percent", r"Did you mean '12.5%'\?"),
        ("50it3ep", r"Did you mean '3ep50it'\?"),
        ("1.5ep", "whole numbers"),
        ("-5it", "not negative"),
        ("-5%", "not negative"),
        ("1234567890123456it", "Too many digits"),
        ("", r"'' is not a time\. Valid forms"),
        ("ep", "'ep' is not a time"),
        ("%", "'%' is not a time"),
        ("3ep50", "'3ep50' is not a time"),
        ("1e3it", "'1e3it' is not a time"),
        ("3ep50%", "'3ep50%' is not a time"),
        ("5it\n", "Did you mean '5it'"),
        ("٣ep", "is not a time"),
        ("101%", "101% is outside 0% to 100%"),
        ("100.1%", "100.1% is outside"),
    ],
)
def test_refused_text(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Time.parse(text)


@given(st.text(alphabet="0123456789.epit% -", max_size=8))
def test_parse_takes_or_raises_value_error(text: str) -> None:
    try:
        time = Time.parse(text)
    except ValueError:
        return
    assert Time.parse(str(time)) == time


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (500, r"once: 500 has no unit; write '500it' or '500ep'"),
        (0, "write '0it'"),
        (-5, r"once: -5 \(int\) is not a time"),
        (True, r"once: True \(bool\) is not a time"),
        (0.5, r"once: 0.5 \(float\) is not a time"),
        (None, r"once: None \(NoneType\) is not a time"),
        (["1ep"], r"\(list\) is not a time"),
    ],
)
def test_as_time_refuses_what_is_no_text(value: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        as_time(value, "once")


def test_parse_refuses_a_bare_number() -> None:
    with pytest.raises(TypeError, match="write '500it'"):
        Time.parse(500)  # type: ignore[arg-type]


def test_as_time_names_the_owner_and_keeps_a_time() -> None:
    with pytest.raises(ValueError, match=r"every\(interval\): '5' is not a time"):
        as_time("5", "every(interval)")
    assert as_time(Time(epochs=2), "once") == Time.parse("2ep")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"epochs": -1}, ValueError, "epochs=-1"),
        ({"steps": -1}, ValueError, "steps=-1"),
        ({"steps": 1.0}, TypeError, "steps=1.0"),
        ({"epochs": True}, TypeError, "epochs=True"),
        ({"percent": 50}, TypeError, "percent=50"),
        ({"percent": Decimal("NaN")}, ValueError, "NaN% is outside"),
        ({"percent": Decimal(-1)}, ValueError, "-1% is outside"),
        ({"percent": Decimal(5), "steps": 3}, ValueError, "stands alone"),
    ],
)
def test_refused_fields(fields: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Time(**fields)


@pytest.mark.parametrize(
    ("text", "clock", "argument"),
    [
        ("5ep", Clock(total_steps=100), "steps_per_epoch="),
        ("5ep3it", Clock(), "steps_per_epoch="),
        ("50%", Clock(steps_per_epoch=100), "total_steps="),
        ("0%", Clock(), "total_steps="),
    ],
)
def test_missing_length_names_the_argument(text: str, clock: Clock, argument: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' needs .* give {argument}"):
        Time.parse(text).iterations(clock)


@pytest.mark.parametrize(
    ("a", "b", "earlier"),
    [
        ("1it", "2it", True),
        ("2it", "2it", False),
        ("1ep", "2ep", True),
        ("1ep", "1ep1it", True),
        ("1ep", "500it", False),
        ("500it", "1ep", False),
        ("500it", "1ep500it", True),
        ("0it", "1ep", True),
        ("10%", "20%", True),
        ("20%", "10%", False),
        ("10%", "20it", False),
        ("1it", "100%", False),
    ],
)
def test_is_earlier_only_when_certain(a: str, b: str, earlier: bool) -> None:
    assert Time.parse(a).is_earlier(Time.parse(b)) is earlier
