"""The awake network as a drawing: layers as columns, nodes as dots, awake weights as lines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.pipeline.mask_files import load_masks
from sleepengine.report.columns import MOST_DOTS, Block, Drawing, drawing_of
from sleepengine.report.mask_pictures import told_files
from sleepengine.report.plots import COLOURS, INK, MUTED, Pen, Plot, draw
from sleepengine.report.records import GroupsLine
from sleepengine.report.run_data import RunData
from sleepengine.report.words import plain, short
from sleepengine.structure.awake_network import AwakeNetwork

MOST_COLUMNS = 12
MOST_LINES = 5000
HEIGHT = 4.6


def network_charts(run: RunData) -> tuple[Plot, ...]:
    """The network with which the first arm and seed ended; none without groups or masks.

    Networks of more columns than fit are not drawn.
    """
    files = told_files(run)
    if run.groups is None or not files:
        return ()
    drawing = drawing_of(load_masks(files[-1].path), run.groups)
    if not 1 < drawing.columns <= MOST_COLUMNS:
        return ()
    return (network_chart(drawing, f"Seed {files[-1].seed}, at the end."),)


def draw_network(network: AwakeNetwork, step: int | None = None) -> Plot:
    """The awake network of an engine, now or after a step that its journal knows.

    The plot has `save_svg(path)` and `save_png(path)`.

    Raises:
        SetupError: the step is forgotten, there is nothing to draw, or matplotlib is missing.
    """
    wiring = network.wiring
    groups = GroupsLine("", 0, 0, 0, tuple(wiring.groups.values()), wiring.params, wiring.depthwise)
    if not wiring.params:
        raise SetupError("no weight of the model is an edge, so there is nothing to draw")
    return network_chart(
        drawing_of(network.store(step), groups), "Now." if step is None else f"At step {step}."
    )


def network_chart(drawing: Drawing, whose: str) -> Plot:
    """Columns from left to right; sleeping nodes are hollow, awake weights lines."""
    lines = _some(drawing.lines)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        alpha = max(0.12, min(0.7, 60.0 / max(1, len(lines)) ** 0.75))
        for own in _by_source(lines):  # a path each, so that they add up where they cross
            gap = torch.full((len(own), 1), torch.nan)
            axes.plot(
                torch.cat([own[:, [0, 2]], gap], 1).flatten().tolist(),
                torch.cat([own[:, [1, 3]], gap], 1).flatten().tolist(),
                color=COLOURS[0],
                linewidth=0.5,
                alpha=alpha,
                zorder=1,
            )
        for block in drawing.blocks:
            _dots(axes, block)
        axes.set_xlim(-0.4, drawing.columns - 0.6)
        axes.set_ylim(-0.02, 1.02)
        axes.axis("off")
        axes.set_title("The awake network")
        _names(axes, drawing)

    caption = f"{whose} Dots are nodes, hollow where asleep; lines are awake weights."
    if any(len(block.shown) < block.vertices.size for block in drawing.blocks):
        caption += f" Of a layer at most {MOST_DOTS} nodes are drawn, sleepers by their share."
    if len(lines) < len(drawing.lines):
        caption += f" {len(lines)} of {len(drawing.lines)} lines are drawn."
    if len({block.vertices.layer for block in drawing.blocks}) < len(drawing.blocks):
        caption += " A layer that is written to again (a residual sum) is drawn again."
    words = "; ".join(dict.fromkeys(_words(block) for block in drawing.blocks))
    alt = f"The awake network, {drawing.columns} columns. {words}."
    return draw("network", caption, alt, paint, HEIGHT)


def _words(block: Block) -> str:
    return f"{plain(block.vertices.layer)} {block.awake} of {block.vertices.size} awake"


def _some(lines: Tensor) -> Tensor:
    """At most `MOST_LINES`, picked at random but always the same ones."""
    if len(lines) <= MOST_LINES:
        return lines
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    return lines[order[:MOST_LINES].sort().values]


def _by_source(lines: Tensor) -> list[Tensor]:
    if not len(lines):
        return []
    _, counts = lines[:, :2].unique_consecutive(dim=0, return_counts=True)
    return list(lines.split(counts.tolist()))


def _dots(axes: Any, block: Block) -> None:
    area = max(2.0, min(36.0, 460.0 / max(1, len(block.shown))))
    for state, face in ((True, COLOURS[0]), (False, "none")):
        own = block.is_awake == state
        axes.scatter(
            [block.column] * int(own.sum()),
            block.height[own].tolist(),
            s=area,
            facecolors=face,
            edgecolors=COLOURS[0] if state else MUTED,
            linewidths=0.6,
            zorder=2,
            clip_on=False,
        )


def _names(axes: Any, drawing: Drawing) -> None:
    """Below each column the names of its layers, with how many of their nodes are awake.

    Of many columns every second name stands lower, so that they have room.
    """
    low = drawing.columns > 6
    room = 14 if low else 60 // max(4, drawing.columns)
    for column in range(drawing.columns):
        own = [block for block in drawing.blocks if block.column == column]
        words = "\n".join(
            f"{short(b.vertices.layer, room)}\n{b.awake} of {b.vertices.size}" for b in own[:3]
        )
        more = f"\nand {len(own) - 3} more" if len(own) > 3 else ""
        height = -0.03 - (0.1 if low and column % 2 else 0.0)
        size = 7.5 if low else 9.0
        axes.text(column, height, words + more, ha="center", va="top", fontsize=size, color=INK)
