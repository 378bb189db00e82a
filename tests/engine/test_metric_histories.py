"""Values of metrics are kept as far back as a trigger may read, and no further."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import optim

from saliency import Magnitude
from schedules import Clock, after, cooldown, every, on, plateau, when
from schedules.trigger import Trigger
from sleepengine import Rule, Sleep, SleepEngine, Who, by
from sleepengine.rules.histories import Histories
from sleepengine.rules.timekeeper import Timekeeper

TRIGGERS = [
    plateau("loss", 3),
    plateau("loss", 1, "max", 0.5) & cooldown("4it"),
    ~plateau("loss", 2) & after("3it"),
    plateau("loss", 5) | plateau("accuracy", 2, "max"),
    every("7it") | on("never"),
]


def asleep_by(trigger: Trigger, name: str) -> Rule:
    return Rule(trigger, Who(Magnitude(), amount=by(0.1)), Sleep(), name=name)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, -0.0, 1.0, 2.0, float("nan"), float("inf")]),
            st.integers(0, 2),  # ticks before it
            st.booleans(),  # a state is saved and loaded
        ),
        max_size=90,
    )
)
def test_triggers_answer_as_if_nothing_was_forgotten(arrivals):
    rules = [asleep_by(one, str(place)) for place, one in enumerate(TRIGGERS)]
    short, whole = Timekeeper(rules), Timekeeper()
    for number, (value, ticks, saved) in enumerate(arrivals):
        for time in (short, whole):
            time.iteration += ticks
            time.metric("accuracy" if number % 3 == 2 else "loss", value)
        if saved:
            state = short.state_dict()
            short = Timekeeper(rules)
            short.load_state_dict(state)
            assert repr(short.state_dict()) == repr(state)
        for rule in rules:
            told = rule.when(short.clock(rule.name))
            assert told is rule.when(whole.clock(rule.name)), (rule.when, number)
            if told:
                short.fired(rule.name)
                whole.fired(rule.name)


def test_memory_is_bounded_by_what_triggers_read():
    time = Timekeeper([asleep_by(one, str(place)) for place, one in enumerate(TRIGGERS)])
    for step in range(3000):
        time.iteration = step
        time.metric("loss", 1.0 / (step + 1))
        time.metric("unread", 1.0)
        assert len(time.clock().metrics["loss"]) <= 32
        assert len(time.clock().metrics["unread"]) <= 17
    metrics = time.state_dict()["metrics"]
    assert [step for step, _ in metrics["loss"]] == [0, *range(2994, 3000)]
    assert metrics["unread"] == []


def test_a_function_of_the_clock_may_read_everything():
    time = Timekeeper([asleep_by(when(lambda clock: False), "own"), asleep_by(every("3it"), "t")])
    for step in range(100):
        time.iteration = step
        time.metric("loss", float(step))
    assert time.clock().metrics["loss"] == tuple((step, float(step)) for step in range(100))


def test_a_trigger_of_ones_own_may_read_everything():
    class Mine(Trigger):
        def __call__(self, clock: Clock) -> bool:
            return len(clock.metrics.get("loss", ())) == 50

    time = Timekeeper([asleep_by(Mine() | every("9it"), "own")])
    for step in range(50):
        time.metric("loss", float(step))
    assert Mine()(time.clock())


def test_one_more_value_takes_constant_time_on_average():
    """Counted in the values that are looked at."""
    looked = 0

    def all_of_them(name, values, last_fired):
        nonlocal looked
        looked += len(values)
        return range(len(values))

    kept = Histories(all_of_them)
    for step in range(10_000):
        kept.add("loss", (step, 0.0), {})
    assert looked <= 3 * 10_000
    assert len(kept.shown()["loss"]) == 10_000


def test_a_clock_shows_what_was_there_when_it_was_made():
    time = Timekeeper()
    time.metric("loss", 1.0)
    clock = time.clock()
    time.metric("loss", 2.0)
    seen = clock.metrics["loss"]
    assert seen == ((0, 1.0),)
    assert (len(seen), seen[-1], seen[0], seen[-3:]) == (1, (0, 1.0), (0, 1.0), ((0, 1.0),))
    assert repr(seen) == "((0, 1.0),)"
    with pytest.raises(IndexError):
        seen[1]
    assert time.clock().metrics["loss"][-1] == (0, 2.0)


def test_an_engine_saves_what_its_rules_may_read(net):
    model = net()
    rule = asleep_by(plateau("loss", 2), "flat")
    engine = SleepEngine(model, optim.SGD(model.parameters(), 0.1), [rule]).attach()
    for value in range(40, 0, -1):
        engine.metric("loss", float(value))
    saved = copy.deepcopy(engine.state_dict())
    assert [value for _, value in saved["clock"]["metrics"]["loss"]] == [3.0, 2.0, 1.0]
    engine.load_state_dict(saved)
    assert engine.state_dict()["clock"] == saved["clock"]
