"""Nodes in numbers: a row per group, and a row per node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sleepengine.report.node_story import DORMANT, GroupStory, stories
from sleepengine.report.run_data import RunData
from sleepengine.report.statistics import mean_interval
from sleepengine.report.words import MISSING, count, number, plain, share

MOST_NODES = 200
Cells = tuple[str, ...]

GROUPS_CAPTION = (
    "Of each group, mean over the seeds: how many nodes there are and how many are awake at the "
    "end; how often nodes fell asleep, woke and began again; how many of the awake ones are "
    f"dormant (at most {DORMANT:g} of the group's mean activation); churn, the share of their "
    "entries that changed between asleep and awake from the first step to the last."
)


def group_cells(run: RunData) -> tuple[Cells, ...]:
    """Header and a row per group; empty where the run has none."""
    told = stories(run)
    if not told:
        return ()
    rows = [
        _group_row([found[name] for found in told.values()]) for name in next(iter(told.values()))
    ]
    heads = ("group", "nodes", "awake", "fell asleep", "woke", "began again", "dormant", "churn")
    return (heads, *rows)


def _group_row(groups: Sequence[GroupStory]) -> Cells:
    def mean(read: Callable[[GroupStory], float | None]) -> str:
        found = [value for one in groups if (value := read(one)) is not None]
        if not found:
            return MISSING
        value = mean_interval(found).mean
        return number(value, 0 if value == round(value) else 1)

    changed = [sum(one.churn) / one.size for one in groups if one.churn is not None]
    return (
        plain(groups[0].name),
        count(groups[0].size),
        mean(lambda one: one.awake_now),
        mean(lambda one: sum(one.slept)),
        mean(lambda one: sum(one.woken)),
        mean(lambda one: sum(one.reset)),
        mean(lambda one: one.dormant),
        share(mean_interval(changed).mean) if changed else MISSING,
    )


def node_cells(run: RunData) -> tuple[Cells, ...]:
    """Header and a row per node of the first seed, those to which something happened first."""
    told = stories(run)
    if not told:
        return ()
    groups = [*next(iter(told.values())).values()]
    places = [(group, node) for group in groups for node in range(group.size)]
    moved = [p for p in places if _events(*p)]
    still = [p for p in places if not _events(*p)]
    heads = ("node", "asleep since", "fell asleep", "woke", "began again", "dormancy", "churn")
    return (heads, *(_node_row(*place) for place in (moved + still)[:MOST_NODES]))


def nodes_in_all(run: RunData) -> int:
    """How many nodes the groups have."""
    return 0 if run.groups is None else sum(group.size for group in run.groups.groups)


def first_seed(run: RunData) -> int | None:
    """The seed whose nodes are listed."""
    return next(iter(stories(run)), None)


def _events(group: GroupStory, node: int) -> int:
    return group.slept[node] + group.woken[node] + group.reset[node]


def _node_row(group: GroupStory, node: int) -> Cells:
    since = group.since[node]
    return (
        f"{plain(group.name)}:{node}",
        "awake" if since is None else f"step {count(since)}",
        count(group.slept[node]),
        count(group.woken[node]),
        count(group.reset[node]),
        MISSING if group.dormancy is None else number(group.dormancy[node], 3),
        MISSING if group.churn is None else share(group.churn[node]),
    )
