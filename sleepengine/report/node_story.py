"""What became of the nodes of a run: who slept, woke and began again, group by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sleepengine.report.records import NodeLine
from sleepengine.report.rows import compared
from sleepengine.report.run_data import RunData

DORMANT = 0.025  # Sokar et al. 2023


@dataclass
class GroupStory:
    """The nodes of one group in one network, from the first step to the last.

    `awake` holds (step, how many are awake from then on); lists by node are of `size`.
    """

    name: str
    size: int
    awake: list[tuple[int, int]] = field(default_factory=list)
    resets: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    since: list[int | None] = field(default_factory=list)
    slept: list[int] = field(default_factory=list)
    woken: list[int] = field(default_factory=list)
    reset: list[int] = field(default_factory=list)
    states: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    dormancy: Sequence[float] | None = None
    churn: Sequence[float] | None = None

    @property
    def awake_now(self) -> int:
        """How many are awake at the end."""
        return self.awake[-1][1] if self.awake else self.size

    @property
    def slept_ever(self) -> bool:
        """Whether any of them ever slept."""
        return any(self.slept)

    @property
    def woken_ever(self) -> bool:
        """Whether any of them ever woke."""
        return any(self.woken)

    @property
    def dormant(self) -> int | None:
        """How many of those that are awake at the end are dormant; None when nobody measured."""
        if self.dormancy is None:
            return None
        pairs = zip(self.dormancy, self.since, strict=True)
        return sum(used <= DORMANT for used, since in pairs if since is None)

    def take(self, line: NodeLine) -> None:
        """Go on by one line of the run folder."""
        if line.dormancy is not None or line.churn is not None:
            self.dormancy, self.churn = line.dormancy, line.churn
            return
        self.awake.append((line.step, line.awake))
        self.states.append((line.step, line.slept, line.woke))
        if line.reset:
            self.resets.append((line.step, line.reset))
        for node in line.slept:
            self.slept[node] += 1
            self.since[node] = line.step
        for node in line.woke:
            self.woken[node] += 1
            self.since[node] = None
        for node in line.reset:
            self.reset[node] += 1

    def asleep_at(self, steps: Sequence[int]) -> Iterator[set[int]]:
        """Who is asleep after each of these ascending steps; the set is the same object."""
        asleep: set[int] = set()
        place = 0
        for step in steps:
            while place < len(self.states) and self.states[place][0] <= step:
                _, slept, woke = self.states[place]
                asleep.update(slept)
                asleep.difference_update(woke)
                place += 1
            yield asleep


def story(run: RunData, arm: str, seed: int, level: int) -> Mapping[str, GroupStory]:
    """The groups of one network; empty where the run has none."""
    if run.groups is None:
        return {}
    found = {
        group.name: GroupStory(
            group.name,
            group.size,
            since=[None] * group.size,
            slept=[0] * group.size,
            woken=[0] * group.size,
            reset=[0] * group.size,
        )
        for group in run.groups.groups
    }
    for line in run.nodes:
        if (line.arm, line.seed, line.level) == (arm, seed, level) and line.group in found:
            found[line.group].take(line)
    return found


def last_network(run: RunData) -> tuple[str, int]:
    """Arm and level whose nodes are told: the first arm, where it ends."""
    arms = compared(run) or run.meta.arms
    arm = arms[0] if arms else "train"
    levels = [line.level for line in run.nodes if line.arm == arm]
    return arm, max(levels, default=0)


def stories(run: RunData) -> dict[int, Mapping[str, GroupStory]]:
    """Seed -> groups of the last network of the first arm; empty where nothing is known."""
    if run.groups is None:
        return {}
    arm, level = last_network(run)
    known = [result.seed for result in run.results if (result.arm, result.level) == (arm, level)]
    seen = [line.seed for line in run.nodes if (line.arm, line.level) == (arm, level)]
    seeds = dict.fromkeys(seed for seed in run.meta.seeds if seed in {*known, *seen})
    return {seed: story(run, arm, seed, level) for seed in seeds}


def last_step(run: RunData) -> int:
    """The step at which the told networks ended, or are now."""
    arm, level = last_network(run)
    ends = [r.steps for r in run.results if (r.arm, r.level) == (arm, level)]
    ends += [p.step for p in run.curves if (p.arm, p.level) == (arm, level)]
    return max([1, *ends, *(one.step for one in run.nodes if one.arm == arm)])
