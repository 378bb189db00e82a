"""Previews: whole schedules as rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

import schedules
from schedules import (
    Clock,
    Row,
    Trigger,
    cooldown,
    cosine,
    cubic,
    every,
    on,
    once,
    plateau,
    preview,
    when,
)


@dataclass(frozen=True)
class Rule:
    name: str
    when: Trigger
    curve: Callable[[float], float] | None = None

    def target(self, clock: Clock) -> float | None:
        progress = self.when.progress(clock)
        if self.curve is None or progress is None:
            return None
        return round(self.curve(progress), 4)


def test_gradual_pruning() -> None:
    rule = Rule("prune", every("100it", after="1ep", before="5ep"), cubic(0, 0.8))
    assert preview([rule], total_steps=1000, steps_per_epoch=100) == [
        Row(100, "prune", 0.0),
        Row(200, "prune", 0.4625),  # .8 (1 - 27/64)
        Row(300, "prune", 0.7),  # .8 (1 - 8/64)
        Row(400, "prune", 0.7875),  # .8 (1 - 1/64)
        Row(500, "prune", 0.8),
    ]


def test_order_ends_and_rules_without_a_date() -> None:
    update = every("100it", before="75%")
    rules = [
        Rule("late", on("task_end")),
        Rule("drop", update, cosine(0.3, 0)),
        Rule("stuck", plateau("loss", 3) & every("1it"), cubic(0, 1)),
        Rule("grow", update),
        Rule("first", once("0it"), cubic(0, 0.5)),
        Rule("last", once("100%")),
        Rule("never", once("2000it")),
    ]
    assert preview(rules, total_steps=400) == [
        Row(0, "first", 0.5),
        Row(100, "drop", 0.3),
        Row(100, "grow", None),
        Row(200, "drop", 0.15),
        Row(200, "grow", None),
        Row(300, "drop", 0.0),
        Row(300, "grow", None),
        Row(400, "last", None),
        Row(None, "late", None),
        Row(None, "stuck", None),
    ]


def test_each_rule_has_its_own_last_fired() -> None:
    rules = [Rule("a", cooldown("4it")), Rule("b", every("3it") & cooldown("5it"))]
    rows = preview(rules, total_steps=10)
    assert [row.step for row in rows if row.rule == "a"] == [0, 4, 8]
    assert [row.step for row in rows if row.rule == "b"] == [3, 9]


def test_a_predicate_is_not_called() -> None:
    def never(clock: Clock) -> bool:
        raise RuntimeError("called")

    assert preview([Rule("mine", when(never))], 10) == [Row(None, "mine", None)]


def test_no_rules() -> None:
    assert preview([], total_steps=10) == []


def test_a_long_run_is_walked_in_jumps() -> None:
    asked = 0

    @dataclass(frozen=True)
    class Rare(Trigger):
        time_only = True

        def __call__(self, clock: Clock) -> bool:
            nonlocal asked
            asked += 1
            return clock.iteration % 250_000 == 0

        def next_after(self, clock: Clock) -> int | None:
            return (clock.iteration // 250_000 + 1) * 250_000

    rules = [Rule("rare", Rare() & every("1it", after="0it"))]
    assert len(preview(rules, total_steps=1_000_000)) == 5
    assert asked == 5


class Stuck(Trigger):
    time_only = True

    def __call__(self, clock: Clock) -> bool:
        return False

    def next_after(self, clock: Clock) -> int | None:
        return clock.iteration


@pytest.mark.parametrize(
    ("rules", "total", "error", "message"),
    [
        ([Rule("a", once("5ep"))], 10, ValueError, "'5ep' needs .* give steps_per_epoch="),
        ([Rule("a", on("x") & once("5ep"))], 10, ValueError, "give steps_per_epoch="),
        ([Rule("a", "5ep")], 10, TypeError, "rule 'a': when='5ep' is no trigger"),
        ([Rule("a", Stuck())], 10, ValueError, "gave 0 at 0; it must be later"),
        ([], 0, ValueError, "total_steps=0"),
        ([], "10", TypeError, "total_steps='10'"),
    ],
)
def test_refused(rules: list[Rule], total: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preview(rules, total)


def test_public_names() -> None:
    assert schedules.__all__ == sorted(schedules.__all__)
    public = [getattr(schedules, name) for name in schedules.__all__]
    assert all(thing.__module__.startswith("schedules.") for thing in public)
    assert all(thing.__doc__ for thing in public)
