"""The awake network as a drawing: layers as columns, nodes as dots, awake weights as lines."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.report.columns import MOST_DOTS, Block, Drawing, drawing_of
from sleepengine.report.mask_pictures import load_masks, told_files
from sleepengine.report.plots import COLOURS, INK, MUTED, Pen, Plot, draw
from sleepengine.report.run_data import RunData
from sleepengine.report.words import plain, short

MOST_COLUMNS = 12
MOST_LINES = 5000
HEIGHT = 4.6


def network_charts(run: RunData) -> tuple[Plot, ...]:
    """The network with which the first arm and seed ended; none without groups or masks."""
    files = told_files(run)
    if run.groups is None or not files:
        return ()
    drawing = drawing_of(load_masks(files[-1].path), run.groups)
    if not 1 < drawing.columns <= MOST_COLUMNS:
        return ()
    return (network_chart(drawing, f"Seed {files[-1].seed}, at the end."),)


def network_chart(drawing: Drawing, whose: str) -> Plot:
    """Columns from left to right; sleeping nodes are hollow, awake weights lines."""
    size = 1 + max(int(block.shown.max()) for block in drawing.blocks)
    x, y = torch.zeros(size), torch.zeros(size)
    for block in drawing.blocks:
        x[block.shown], y[block.shown] = float(block.column), block.height.to(y.dtype)

    lines = _some(drawing.lines)

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        alpha = max(0.12, min(0.7, 60.0 / max(1, len(lines)) ** 0.75))
        for own in _by_source(lines):  # a path each, so that they add up where they cross
            gap = torch.full((len(own), 1), torch.nan)
            axes.plot(
                torch.cat([x[own], gap], 1).flatten().tolist(),
                torch.cat([y[own], gap], 1).flatten().tolist(),
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

    left = sum(len(block.shown) < block.size for block in drawing.blocks)
    caption = f"{whose} Dots are nodes, hollow where asleep; lines are awake weights."
    if left:
        caption += f" Of a layer at most {MOST_DOTS} nodes are drawn, sleepers by their share."
    if len(lines) < len(drawing.lines):
        caption += f" {len(lines)} of {len(drawing.lines)} lines are drawn."
    if drawing.backwards:
        caption += " Weights that lead back to an earlier column have no lines."
    words = "; ".join(f"{plain(b.layer)} {b.awake} of {b.size} awake" for b in drawing.blocks)
    alt = f"The awake network, {drawing.columns} columns. {words}."
    return draw("network", caption, alt, paint, HEIGHT)


def _some(lines: Tensor) -> Tensor:
    """At most `MOST_LINES`, picked at random but always the same ones."""
    if len(lines) <= MOST_LINES:
        return lines
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    return lines[order[:MOST_LINES].sort().values]


def _by_source(lines: Tensor) -> list[Tensor]:
    if not len(lines):
        return []
    _, counts = lines[:, 0].unique_consecutive(return_counts=True)
    return list(lines.split(counts.tolist()))


def _dots(axes: object, block: Block) -> None:
    area = max(2.0, min(36.0, 1400.0 / max(1, len(block.shown)) / 3))
    for state, face in ((True, COLOURS[0]), (False, "none")):
        own = block.is_awake == state
        axes.scatter(  # type: ignore[attr-defined]
            [block.column] * int(own.sum()),
            block.height[own].tolist(),
            s=area,
            facecolors=face,
            edgecolors=COLOURS[0] if state else MUTED,
            linewidths=0.6,
            zorder=2,
            clip_on=False,
        )


def _names(axes: object, drawing: Drawing) -> None:
    """Below each column the names of its layers, with how many of their nodes are awake."""
    room = max(8, 60 // drawing.columns)
    for column in range(drawing.columns):
        own = [block for block in drawing.blocks if block.column == column]
        words = "\n".join(
            f"{short(block.layer, room)}\n{block.awake} of {block.size}" for block in own[:3]
        )
        more = f"\nand {len(own) - 3} more" if len(own) > 3 else ""
        axes.text(  # type: ignore[attr-defined]
            column, -0.03, words + more, ha="center", va="top", fontsize=9, color=INK
        )
