"""Laws that hold for every combination of triggers."""

from __future__ import annotations

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from schedules import Clock, Trigger, after, at, before, cooldown, every, once, preview

TICKS = 60
STEPS = st.integers(0, 50)
LENGTHS = st.integers(1, 20)
NAMES = {f.__name__: f for f in (every, once, at, after, before, cooldown)}


def bounded(interval: int, start: int, length: int) -> Trigger:
    return every(f"{interval}it", after=f"{start}it", before=f"{start + length}it")


LEAVES = st.one_of(
    st.builds(lambda n: every(f"{n}it"), LENGTHS),
    st.builds(lambda n, t: every(f"{n}it", after=f"{t}it"), LENGTHS, STEPS),
    st.builds(bounded, LENGTHS, STEPS, STEPS),
    st.builds(lambda t: once(f"{t}it"), STEPS),
    st.builds(lambda ts: at(*(f"{t}it" for t in ts)), st.lists(STEPS, min_size=1, unique=True)),
    st.builds(lambda t: after(f"{t}it"), STEPS),
    st.builds(lambda t: before(f"{t}it"), LENGTHS),
    st.builds(lambda n: cooldown(f"{n}it"), LENGTHS),
)
TRIGGERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=5,
)
CLOCKS = st.builds(
    lambda t, last: Clock(t, total_steps=TICKS, last_fired=last),
    st.integers(0, TICKS),
    st.none() | st.integers(0, TICKS),
)


@given(TRIGGERS, TRIGGERS, CLOCKS)
def test_boolean_algebra(a: Trigger, b: Trigger, clock: Clock) -> None:
    assert (a & b)(clock) is (a(clock) and b(clock))
    assert (a | b)(clock) is (a(clock) or b(clock))
    assert (~a)(clock) is (not a(clock))
    assert (~(a & b))(clock) is (~a | ~b)(clock)
    assert (~(a | b))(clock) is (~a & ~b)(clock)


def fired(trigger: Trigger) -> list[int]:
    steps: list[int] = []
    for tick in range(TICKS + 1):
        last = steps[-1] if steps else None
        if trigger(Clock(tick, total_steps=TICKS, last_fired=last)):
            steps.append(tick)
    return steps


class Rule:
    def __init__(self, when: Trigger) -> None:
        self.name = "rule"
        self.when = when

    def target(self, clock: Clock) -> float | None:
        return self.when.progress(clock)


@settings(max_examples=200)
@given(TRIGGERS)
def test_preview_equals_asking_at_every_tick(trigger: Trigger) -> None:
    assert [row.step for row in preview([Rule(trigger)], TICKS)] == fired(trigger)


@given(TRIGGERS)
def test_never_fires_outside_of_its_window(trigger: Trigger) -> None:
    first, last = trigger.window(Clock(total_steps=TICKS))
    assert all(first <= tick and (last is None or tick <= last) for tick in fired(trigger))


@given(TRIGGERS)
def test_progress_rises_from_0_to_1(trigger: Trigger) -> None:
    clocks = [Clock(t, total_steps=TICKS) for t in range(TICKS + 1)]
    span = trigger.span(clocks[0])
    progress = [trigger.progress(clock) for clock in clocks]
    if span is None:
        assert progress == [None] * len(clocks)
        return
    numbers = [p for p in progress if p is not None]
    assert numbers == sorted(numbers)
    assert all(0 <= p <= 1 for p in numbers)
    if span[1] <= TICKS:
        assert progress[span[1]] == 1
    if span[0] < span[1] and span[0] <= TICKS:
        assert progress[span[0]] == 0


@given(TRIGGERS)
def test_repr_and_pickle_give_an_equal_trigger(trigger: Trigger) -> None:
    assert eval(repr(trigger), NAMES) == trigger
    assert pickle.loads(pickle.dumps(trigger)) == trigger
