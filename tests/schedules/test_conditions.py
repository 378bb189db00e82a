"""Triggers of what training brings: plateau, when, on."""

from __future__ import annotations

import functools
import math
import pickle

import pytest

from schedules import Clock, Trigger, every, on, once, plateau, when

NAN = math.nan


def fired(trigger: Trigger, values: list[float], remember: bool = True) -> list[int]:
    """The positions of the values (one every 10 ticks, from 10) at which a rule fires."""
    history = tuple((10 * (i + 1), value) for i, value in enumerate(values))
    steps: list[int] = []
    for tick in range(10 * len(values) + 10):
        seen = tuple(pair for pair in history if pair[0] <= tick)
        last = steps[-1] if steps and remember else None
        if trigger(Clock(tick, metrics={"loss": seen}, last_fired=last)):
            steps.append(tick)
    assert all(tick % 10 == 0 for tick in steps)
    return [tick // 10 - 1 for tick in steps]


@pytest.mark.parametrize(
    ("trigger", "values", "positions"),
    [
        (plateau("loss", 1), [3.0, 2.0, 1.0], []),
        (plateau("loss", 1), [3.0, 2.0, 2.0], [2]),
        (plateau("loss", 2), [3.0], []),
        (plateau("loss", 2), [3.0, 4.0], []),
        (plateau("loss", 2), [3.0, 4.0, 3.0], [2]),
        (plateau("loss", 2), [3.0, 4.0, 2.9, 3.0, 2.95], [4]),
        # After firing at 2 only the values from 3 on count: 9 is the best to beat.
        (plateau("loss", 2), [1.0, 2.0, 2.0, 9.0, 8.0, 8.5, 8.0], [2, 6]),
        (plateau("loss", 1, min_delta=0.5), [3.0, 2.4, 2.0], [2]),
        (plateau("loss", 1, min_delta=0.5), [3.0, 2.5], [1]),
        (plateau("loss", 1, mode="max"), [1.0, 2.0, 2.0], [2]),
        (plateau("loss", 1, mode="max", min_delta=0.5), [1.0, 1.6, 2.0], [2]),
        (plateau("loss", 2), [3.0, NAN, NAN], [2]),
        (plateau("loss", 1), [NAN, NAN], [1]),
        (plateau("loss", 1), [NAN, 1.0], []),
        (plateau("loss", 1, mode="max"), [1.0, NAN], [1]),
    ],
)
def test_plateau(trigger: Trigger, values: list[float], positions: list[int]) -> None:
    assert fired(trigger, values) == positions
    assert not trigger.time_only
    assert trigger.metrics == {"loss"}
    assert pickle.loads(pickle.dumps(trigger)) == trigger


def test_plateau_without_memory_fires_on_every_further_value() -> None:
    assert fired(plateau("loss", 1), [1.0, 2.0, 2.0, 0.5], remember=False) == [1, 2]


def test_plateau_of_a_metric_never_seen() -> None:
    assert plateau("loss", 1)(Clock(10, metrics={"other": ((10, 1.0),)})) is False


def late(clock: Clock) -> bool:
    return clock.iteration > 5


def forgetful(clock: Clock) -> None:
    """Returns nothing."""


def test_when_asks_the_function_and_names_it() -> None:
    trigger = when(late)
    assert [trigger(Clock(t)) for t in (5, 6)] == [False, True]
    assert repr(trigger) == "when(late)"
    assert repr(trigger & once("3it")) == "when(late) & once('3it')"
    assert "partial" in repr(when(functools.partial(late)))
    assert not trigger.time_only
    assert trigger.span(Clock(total_steps=10)) is None
    assert when(late) == trigger


def test_when_gives_a_bool() -> None:
    assert when(lambda clock: 1)(Clock()) is True  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match=r"when\(forgetful\): the function returned None"):
        when(forgetful)(Clock())  # type: ignore[arg-type]


def test_on_an_outside_event() -> None:
    trigger = on("task_end")
    assert trigger(Clock(events=frozenset({"task_end", "epoch"}))) is True
    assert trigger(Clock(events=frozenset({"epoch"}))) is False
    assert trigger.events == {"task_end"}
    assert repr(trigger) == "on('task_end')"
    assert not trigger.time_only


def test_combinations_say_what_they_read() -> None:
    trigger = (plateau("loss", 3) | on("stop")) & ~(plateau("acc", 2, mode="max") & on("go"))
    assert trigger.metrics == {"loss", "acc"}
    assert trigger.events == {"stop", "go"}
    assert not trigger.time_only
    assert not (every("1it") & on("go")).time_only
    assert not (~on("go")).time_only
    assert (on("go") & every("1it", before="5it")).span(Clock()) == (1, 5)
    assert (on("go") | every("1it", before="5it")).span(Clock()) is None


@pytest.mark.parametrize(
    "trigger",
    [
        plateau("loss", 3),
        plateau("loss", 3, mode="max"),
        plateau("loss", 3, min_delta=0.5),
        plateau("loss", 3, mode="max", min_delta=0.5),
        on("x"),
    ],
)
def test_repr_is_the_call(trigger: Trigger) -> None:
    assert eval(repr(trigger), {"plateau": plateau, "on": on}) == trigger


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: plateau("loss", 0), ValueError, "patience=0 must be at least 1"),
        (lambda: plateau("loss", -2), ValueError, "patience=-2"),
        (lambda: plateau("loss", 1.5), TypeError, r"plateau\('loss', 1.5\).*not float"),
        (lambda: plateau("loss", "3it"), TypeError, "not str"),
        (lambda: plateau("loss", True), TypeError, "not bool"),
        (lambda: plateau("loss", 1, mode="low"), ValueError, "mode='low' must be 'min' or 'max'"),
        (lambda: plateau("loss", 1, min_delta=-0.1), ValueError, "min_delta=-0.1"),
        (lambda: plateau("loss", 1, min_delta=NAN), ValueError, "min_delta=nan"),
        (lambda: plateau("", 1), ValueError, r"plateau\(metric\): the name is empty"),
        (lambda: plateau(3, 1), TypeError, r"plateau\(metric\): 3 must be text, not int"),
        (lambda: when("late"), TypeError, r"when\('late'\): a function of the clock"),
        (lambda: when(None), TypeError, "not NoneType"),
        (lambda: on(""), ValueError, r"on\(name\): the name is empty"),
        (lambda: on(5), TypeError, r"on\(name\): 5 must be text"),
        (lambda: on("a") and on("b"), TypeError, "combine triggers with & | ~"),
        (lambda: not on("a"), TypeError, "has no truth value"),
        (lambda: on("a") & late, TypeError, r"wrap a function as when\(function\)"),
        (lambda: on("a") | "1ep", TypeError, r"trigger \| '1ep': a trigger is needed"),
    ],
)
def test_refused(build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()
