"""What a schedule will do, with no model and no training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from schedules.clock import Clock
from schedules.trigger import Trigger


class Scheduled(Protocol):
    """What `preview` needs of a rule: a name, when it fires, and its target at that time."""

    @property
    def name(self) -> str:
        """Shown in the rows."""

    @property
    def when(self) -> Trigger:
        """Asked at every tick."""

    def target(self, clock: Clock) -> float | None:
        """The value of the rule's curve when it fires; None when it has none."""


@dataclass(frozen=True)
class Row:
    """One firing: the step, the rule's name, its target there.

    A rule whose trigger reads more than time has one row, with step None and target None.
    """

    step: int | None
    rule: str
    target: float | None


def preview(
    rules: Iterable[Scheduled], total_steps: int, steps_per_epoch: int | None = None
) -> list[Row]:
    """One row per firing over the ticks 0, 1, ..., total_steps, both ends included.

    Ordered by step; at the same step in the order of the rules. Each rule has its own
    last_fired. Rules that read more than time (`when.time_only` is False: plateau, when,
    on) come last, once each, with step None: when they fire is not known beforehand.

    Raises:
        TypeError: a rule's `when` is no trigger.
        ValueError: a literal needs steps_per_epoch, or the trigger's own complaint.

    >>> from collections import namedtuple
    >>> from schedules import every, on
    >>> class Rule(namedtuple("Rule", "name when")):
    ...     def target(self, clock):
    ...         return 0.9 * self.when.progress(clock)
    >>> rules = [Rule("prune", every("100it", after="0it")), Rule("wake", on("task_end"))]
    >>> for row in preview(rules, total_steps=200):
    ...     print(row.step, row.rule, row.target)
    0 prune 0.0
    100 prune 0.45
    200 prune 0.9
    None wake None
    """
    start = Clock(0, steps_per_epoch, total_steps)
    dated: list[tuple[int, Row]] = []
    undated: list[Row] = []
    for rule in rules:
        if not isinstance(rule.when, Trigger):
            raise TypeError(f"rule {rule.name!r}: when={rule.when!r} is no trigger.")
        # Checks every literal, also where a combination would not come to ask it.
        rule.when.window(start)
        if rule.when.time_only:
            dated += _walk(rule, total_steps, steps_per_epoch)
        else:
            undated.append(Row(None, rule.name, None))
    # A stable sort keeps the order of the rules within a step.
    dated.sort(key=lambda pair: pair[0])
    return [row for _, row in dated] + undated


def _walk(rule: Scheduled, total: int, steps_per_epoch: int | None) -> list[tuple[int, Row]]:
    rows: list[tuple[int, Row]] = []
    fired: int | None = None
    step: int | None = 0
    while step is not None and step <= total:
        clock = Clock(step, steps_per_epoch, total, last_fired=fired)
        if rule.when(clock):
            rows.append((step, Row(step, rule.name, rule.target(clock))))
            fired = step
            clock = Clock(step, steps_per_epoch, total, last_fired=fired)
        following = rule.when.next_after(clock)
        if following is not None and following <= step:
            raise ValueError(
                f"rule {rule.name!r}: next_after of {rule.when!r} gave {following} at {step}; "
                "it must be later."
            )
        step = following
    return rows
