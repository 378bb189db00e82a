"""Triggers of time: when they fire, their span, their errors."""

from __future__ import annotations

import pickle

import pytest

from schedules import Clock, Trigger, after, at, before, cooldown, every, once

TOTAL = 1000
PER_EPOCH = 100


def fired(trigger: Trigger, ticks: int = TOTAL) -> list[int]:
    """The ticks 0..ticks at which a rule with this trigger fires."""
    steps: list[int] = []
    for tick in range(ticks + 1):
        if trigger(Clock(tick, PER_EPOCH, TOTAL, last_fired=steps[-1] if steps else None)):
            steps.append(tick)
    return steps


@pytest.mark.parametrize(
    ("trigger", "steps"),
    [
        (every("300it"), [300, 600, 900]),
        (every("3ep"), [300, 600, 900]),
        (every("30%"), [300, 600, 900]),
        (every("300it", after="0it"), [0, 300, 600, 900]),
        (every("300it", after="50it"), [50, 350, 650, 950]),
        (every("100it", after="1ep", before="3ep"), [100, 200, 300]),
        (every("100it", after="1ep", before="299it"), [100, 200]),
        (every("100it", after="1ep", before="1ep"), [100]),
        (every("5000it"), []),
        (every("100it", before="100it"), [100]),
        (once("0it"), [0]),
        (once("5ep"), [500]),
        (once("100%"), [1000]),
        (once("11ep"), []),
        (at("7it", "0it", "3ep1it"), [0, 7, 301]),
        (at("50%"), [500]),
        (after("998it"), [998, 999, 1000]),
        (before("3it"), [0, 1, 2]),
        (cooldown("400it"), [0, 400, 800]),
        (cooldown("4ep") & after("150it"), [150, 550, 950]),
        (every("100it") & cooldown("250it"), [100, 400, 700, 1000]),
        (every("400it") | once("401it"), [400, 401, 800]),
        (every("200it") & ~every("400it"), [200, 600, 1000]),
        (every("100it") & after("2ep") & before("5ep"), [200, 300, 400]),
    ],
)
def test_fires_at(trigger: Trigger, steps: list[int]) -> None:
    assert fired(trigger) == steps
    assert fired(pickle.loads(pickle.dumps(trigger))) == steps
    assert trigger.time_only


@pytest.mark.parametrize(
    ("trigger", "span"),
    [
        (every("100it"), (100, 1000)),
        (every("100it", after="0it"), (0, 1000)),
        (every("100it", after="1ep", before="3ep"), (100, 300)),
        (every("100it", before="350it"), (100, 300)),  # the last firing, not the bound
        (every("5000it"), None),  # not one firing in this run
        (once("5ep"), (500, 500)),
        (at("7it", "0it", "3ep"), (0, 300)),
        (at("3ep", "7it"), (7, 300)),
        (after("2ep"), (200, 1000)),
        (before("2ep"), (0, 199)),
        (cooldown("1ep"), None),
        (every("100it") & before("501it"), (100, 500)),
        (every("100it") & cooldown("3ep"), (100, 1000)),
        (every("100it", before="5ep") & ~once("2ep"), (100, 500)),
        (once("1ep") | once("5ep"), (100, 500)),
        (every("5000it") | once("5ep"), (500, 500)),
        (once("5ep") | every("5000it"), (500, 500)),
        (once("1ep") | cooldown("1ep"), None),
        (once("5ep") & before("1ep"), None),
        (~once("5ep"), None),
    ],
)
def test_span(trigger: Trigger, span: tuple[int, int] | None) -> None:
    assert trigger.span(Clock(0, PER_EPOCH, TOTAL)) == span
    assert trigger.span(Clock(777, PER_EPOCH, TOTAL, last_fired=3)) == span


@pytest.mark.parametrize(
    ("trigger", "span"),
    [
        (every("100it"), None),
        (after("100it"), None),
        (every("100it", before="300it"), (100, 300)),
        (every("100it") & before("301it"), (100, 300)),
        (every("100it") | once("5it"), None),
        (once("5it"), (5, 5)),
    ],
)
def test_span_of_a_run_of_unknown_length(trigger: Trigger, span: tuple[int, int] | None) -> None:
    assert trigger.span(Clock()) == span


@pytest.mark.parametrize(
    ("iteration", "progress"), [(0, 0.0), (100, 0.0), (150, 0.25), (300, 1.0), (900, 1.0)]
)
def test_progress(iteration: int, progress: float) -> None:
    trigger = every("50it", after="100it", before="300it")
    assert trigger.progress(Clock(iteration)) == progress


def test_progress_without_a_span_and_with_a_single_tick() -> None:
    assert every("50it").progress(Clock(50)) is None
    assert once("50it").progress(Clock(50)) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "every('100it')",
        "every('100it', after='1ep')",
        "every('100it', before='30ep')",
        "every('100it', after='1ep', before='50%')",
        "once('5ep')",
        "at('5ep', '3ep50it')",
        "after('1ep')",
        "before('1ep')",
        "cooldown('500it')",
        "every('100it') & after('1ep')",
        "~once('5ep')",
        "~(once('5ep') | once('6ep'))",
        "every('1ep') & (once('5ep') | ~once('6ep'))",
        "(every('1ep') & once('5ep')) & once('6ep')",
        "every('1ep') & (once('5ep') & once('6ep'))",
    ],
)
def test_repr_is_the_call(text: str) -> None:
    names = {f.__name__: f for f in (every, once, at, after, before, cooldown)}
    trigger = eval(text, names)
    assert repr(trigger) == text
    assert eval(repr(trigger), names) == trigger
    assert hash(eval(text, names)) == hash(trigger)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: every(100), TypeError, r"every\(interval\): 100 has no unit; write '100it'"),
        (lambda: every("100it", after=1), TypeError, r"every\(after\): 1 has no unit"),
        (lambda: every("100it", before=0.5), TypeError, r"every\(before\): 0.5 \(float\)"),
        (lambda: every("100"), ValueError, r"every\(interval\): '100' is not a time"),
        (lambda: every("0it"), ValueError, r"every\('0it'\): the interval is zero"),
        (lambda: every("0%"), ValueError, r"every\('0%'\): the interval is zero"),
        (lambda: every("-5it"), ValueError, "not negative"),
        (
            lambda: every("1it", after="30ep", before="1ep"),
            ValueError,
            "before='1ep' is earlier than after='30ep'",
        ),
        (lambda: every("9it", before="5it"), ValueError, "before='5it' is earlier than one int"),
        (lambda: every("1it", after="9%", before="1%"), ValueError, "before='1%' is earlier"),
        (lambda: once(5), TypeError, r"once\(time\): 5 has no unit"),
        (lambda: once("101%"), ValueError, "101% is outside"),
        (lambda: at(), ValueError, r"at\(\): give at least one time"),
        (lambda: at("1ep", "0it", "1ep"), ValueError, "'1ep' is given twice"),
        (lambda: at("1ep", 3), TypeError, r"at\(times\[1\]\): 3 has no unit"),
        (lambda: after("x"), ValueError, r"after\(time\): 'x'"),
        (lambda: before("0it"), ValueError, r"before\('0it'\): nothing is before"),
        (lambda: cooldown("0ep"), ValueError, "a cooldown of zero"),
    ],
)
def test_refused_at_construction(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("trigger", "argument"),
    [
        (every("1ep"), "steps_per_epoch="),
        (every("1it", after="1ep"), "steps_per_epoch="),
        (every("1it", before="50%"), "total_steps="),
        (once("50%"), "total_steps="),
        (at("3it", "1ep"), "steps_per_epoch="),
        (after("1ep"), "steps_per_epoch="),
        (before("1ep"), "steps_per_epoch="),
        (cooldown("1ep"), "steps_per_epoch="),
        (~once("1ep"), "steps_per_epoch="),
    ],
)
def test_missing_length(trigger: Trigger, argument: str) -> None:
    for ask in (trigger, trigger.span):
        with pytest.raises(ValueError, match=f"give {argument}"):
            ask(Clock(7))


def test_span_checks_what_a_call_would_not_reach() -> None:
    trigger = once("5it") & once("5ep")
    assert trigger(Clock(0)) is False
    with pytest.raises(ValueError, match="give steps_per_epoch="):
        trigger.span(Clock(0))


def test_contradictions_that_only_the_clock_shows() -> None:
    with pytest.raises(ValueError, match=r"earlier than after='1ep' \(steps 50 and 100 with"):
        every("1it", after="1ep", before="50it")(Clock(0, steps_per_epoch=100))
    with pytest.raises(ValueError, match="less than half a step when total_steps=20"):
        every("1%")(Clock(0, total_steps=20))
