"""The life of every node as a picture: a row per node, time from left to right."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.report.mask_pictures import Picture
from sleepengine.report.node_story import GroupStory, last_step, stories
from sleepengine.report.run_data import RunData
from sleepengine.report.series import thin_out
from sleepengine.report.words import count, plain

MOST_PICTURES = 6
MOST_ROWS = 200
BINS = 160
LOW = 64  # pictures with fewer rows are stretched


def node_pictures(run: RunData) -> tuple[Picture, ...]:
    """A picture per group of the first seed: blue awake, grey asleep, orange began again."""
    told = stories(run)
    if not told:
        return ()
    end = last_step(run)
    groups = [g for g in next(iter(told.values())).values() if g.slept_ever or g.resets]
    return tuple(_picture(group, end) for group in thin_out(groups, MOST_PICTURES))


def _picture(group: GroupStory, end: int) -> Picture:
    # Where nobody sleeps, there is nothing to see of the nodes that go on as they were.
    told = [n for n in range(group.size) if group.slept_ever or group.reset[n]]
    nodes = torch.tensor(thin_out(told, MOST_ROWS))
    bins = max(2, min(BINS, end))
    grid, marked = awake_grid(group, end, bins)[nodes], reset_grid(group, end, bins)[nodes]
    tall = max(1, LOW // len(nodes))
    which = "" if len(nodes) == group.size else f" {len(nodes)} of"
    title = f"{plain(group.name)},{which} {count(group.size)} nodes"
    title += "" if group.slept_ever else ": those that began again"
    said = f"{group.awake_now} of {group.size} nodes awake at the end"
    again = f", {sum(group.reset)} times a node began again" if group.resets else ""
    alt = f"Lives of the nodes of {plain(group.name)}: {said}{again}."
    return Picture(
        grid.repeat_interleave(tall, 0),
        title,
        alt,
        marked.repeat_interleave(tall, 0) if group.resets else None,
    )


def awake_grid(group: GroupStory, end: int, bins: int) -> Tensor:
    """(node, bin) 1 where awake at the end of the bin.

    >>> group = GroupStory("a", 2, states=[(5, (0,), ())])
    >>> awake_grid(group, end=8, bins=4)
    tensor([[1., 1., 0., 0.],
            [1., 1., 1., 1.]])
    """
    grid = torch.ones(group.size, bins)
    steps = [round((i + 1) * end / bins) for i in range(bins)]
    for i, asleep in enumerate(group.asleep_at(steps)):
        grid[sorted(asleep), i] = 0.0
    return grid


def reset_grid(group: GroupStory, end: int, bins: int) -> Tensor:
    """(node, bin) 1 where the node began again within the bin or the one before."""
    grid = torch.zeros(group.size, bins)
    for step, nodes in group.resets:
        place = min(bins - 2, max(0, step * bins // max(1, end)))
        grid[list(nodes), place : place + 2] = 1.0  # as wide as two bins, to be seen
    return grid
