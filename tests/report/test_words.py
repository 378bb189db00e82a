import math

import pytest

from sleepengine.report.statistics import Interval
from sleepengine.report.words import count, duration, interval_text, number, plain, share, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "100%"),
        (0.9996, "99.96%"),
        (0.99999, "99.99%"),
        (0.5, "50.0%"),
        (0.0358, "3.6%"),
        (0.0095, "0.95%"),
        (0.000031, "0.0031%"),
        (0.0, "0%"),
        (math.nan, "–"),
    ],
)
def test_share(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (86_400.0, "24 h 00 min"),
        (math.inf, "–"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_signs():
    assert interval_text(Interval(-0.012, 0.004, 3), 1, signed=True) == "−1.2 ± 0.4"
    assert interval_text(Interval(0.012, 0.004, 3), 1, signed=True) == "+1.2 ± 0.4"
    assert interval_text(None, 1) == "–"
    assert interval_text(Interval(math.nan, None, 3), 1, signed=True) == "–"
    assert number(math.nan, 1) == "–"


def test_names_lose_what_moves_the_cursor_or_turns_the_line():
    assert plain("a\nb\x1b]0;x\x07\u202ec") == "a?b?]0;x??c"
    assert plain("größe 重み") == "größe 重み"


def test_short_keeps_both_ends():
    text = short("a" * 50 + "z" * 50, 11)
    assert (text, len(text)) == ("aaaaa…zzzzz", 11)


def test_count_groups_by_thousands():
    assert count(1_234_567).split("\u202f") == ["1", "234", "567"]
