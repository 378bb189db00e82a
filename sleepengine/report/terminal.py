"""Tables for the terminal that fit its width: columns move below when there is no room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from sleepengine.report.mask_results import story_of
from sleepengine.report.node_tables import group_cells
from sleepengine.report.rows import refuse_twins, unlike
from sleepengine.report.run_data import RunData
from sleepengine.report.tables import (
    Cells,
    compare_cells,
    reference_text,
    result_cells,
    short_cells,
    short_compare_cells,
)
from sleepengine.report.words import plain

_BETWEEN = 2


@final
@dataclass(frozen=True)
class Sheet:
    """One table: the first row is its header; the columns `words` hold words, the others numbers.

    A word of the header is never parted, nor is a cell, as long as the terminal is as wide as
    `width`; with less room the words are broken over lines, but nothing is left out.
    """

    title: str
    cells: Sequence[Cells]
    words: Sequence[int] = ()
    note: str = ""

    @property
    def widths(self) -> tuple[int, ...]:
        """Letters that each column needs; its header may take two lines."""
        header, *rows = self.cells
        heads = map(_head_width, header)
        return tuple(
            max([head, *(cell_len(row[i]) for row in rows)]) for i, head in enumerate(heads)
        )

    @property
    def width(self) -> int:
        """Letters that the table needs."""
        widths = self.widths
        return sum(widths) + _BETWEEN * len(widths)

    def table(self, room: int) -> Table:
        """As a rich table in a terminal `room` letters wide. Text objects: no markup is read."""
        fits = self.width <= room
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for i, (name, width) in enumerate(zip(self.cells[0], self.widths, strict=True)):
            table.add_column(
                Text(name),
                justify="left" if i in self.words else "right",
                overflow="fold",
                width=width if fits else None,
            )
        for row in self.cells[1:]:
            table.add_row(*(Text(cell) for cell in row))
        return table


@final
@dataclass(frozen=True)
class Fitted:
    """Of several ways to show the same, the widest first, the one that the terminal has room for.

    Each way is one table or several, one below the other. `notes` follow the last.
    """

    ways: Sequence[Sequence[Sheet]]
    notes: Sequence[str] = ()

    def chosen(self, room: int) -> Sequence[Sheet]:
        """The tables for a terminal `room` letters wide."""
        fitting = (way for way in self.ways if all(sheet.width <= room for sheet in way))
        return next(fitting, self.ways[-1])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for when it prints."""
        for i, sheet in enumerate(self.chosen(options.max_width)):
            if i:
                yield Text()
            if sheet.title:
                yield Text(sheet.title, style="bold")
            yield sheet.table(options.max_width)
            if sheet.note:
                yield Text(sheet.note)
        yield from (Text(note) for note in self.notes)


def _head_width(name: str) -> int:
    """Letters that a header needs when it is parted once, where that helps most."""
    words = name.split()
    ways = ((" ".join(words[:k]), " ".join(words[k:])) for k in range(1, len(words) + 1))
    return min((max(map(cell_len, lines)) for lines in ways), default=0)


def show_table(run: RunData) -> Fitted:
    """The results of one run, test accuracy in percent ± 95% interval."""
    title = f"{plain(run.meta.name)} ({run.meta.status})"
    story = story_of(run)
    if story is not None:
        return Fitted([[Sheet(title, result_cells(run), (0,))]], (story.caption,))
    title += ": test accuracy in percent" if run.meta.experiment == "lottery" else ""
    ways = [[Sheet(title, result_cells(run))]]
    if run.meta.experiment == "lottery":
        values, gaps = short_cells(run)
        below = [Sheet("Differences in points, seed by seed", gaps)] if gaps else []
        ways.append([Sheet(title, values), *below])
        if gaps:  # with short names in the header all may yet stand side by side
            joined = tuple((*one, *two[1:]) for one, two in zip(values, gaps, strict=True))
            ways.insert(1, [Sheet(title, joined)])
    note = reference_text(run)
    return Fitted(ways, (f"{note[:1].upper()}{note[1:]}.",) if note else ())


def node_table(run: RunData) -> Fitted | None:
    """A row per group of nodes; None where the run knows of none."""
    cells = group_cells(run)
    title = "Nodes, means over the seeds" if len(run.meta.seeds) > 1 else "Nodes"
    return Fitted([[Sheet(title, cells, (0,))]]) if cells else None


def compare_table(runs: Sequence[RunData]) -> Fitted:
    """Several runs side by side, each arm at its sparsest level.

    Raises:
        SetupError: a run is given twice.
    """
    refuse_twins(runs)
    results, facts = short_compare_cells(runs)
    cells = compare_cells(runs)
    told = "measured" in cells[0]
    many = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    title = many if told else f"{many} at {'its' if len(runs) == 1 else 'their'} sparsest level"
    words = (0, 1, 2) if told else (0, 1)
    narrow = [Sheet(title, results, words), Sheet("The runs", facts, (0, 1, 2, 3))]
    note = unlike(runs)
    wide = [Sheet(title, cells, (0, 1, 2, 3, 4, *((5,) if told else ())))]
    return Fitted([wide, narrow], (note,) if note else ())
