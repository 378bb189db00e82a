"""What the page of a run shows beside its words: charts and pictures, section by section."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sleepengine.report.charts import accuracy_chart, compare_chart, speed_chart
from sleepengine.report.curve_charts import learning_charts, training_charts
from sleepengine.report.layer_charts import bars_chart, layers_chart, sparsity_chart
from sleepengine.report.mask_charts import mask_curves, mask_results
from sleepengine.report.mask_pictures import Picture, pictures
from sleepengine.report.mask_result_charts import tasks_chart
from sleepengine.report.mask_results import story_of
from sleepengine.report.matrices import legend, matrices
from sleepengine.report.network_chart import network_charts
from sleepengine.report.node_charts import node_charts
from sleepengine.report.node_pictures import node_pictures
from sleepengine.report.node_tables import (
    GROUPS_CAPTION,
    first_seed,
    group_cells,
    node_cells,
    nodes_in_all,
)
from sleepengine.report.plots import Plot, png
from sleepengine.report.rows import best_step, level_rows, sleeps
from sleepengine.report.run_data import RunData
from sleepengine.report.words import plain


@dataclass(frozen=True)
class Chart:
    """A drawing as the page wants it: SVG with its names escaped, a caption, words for the ear."""

    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Image:
    """A picture as a data address."""

    address: str
    title: str
    alt: str
    width: int
    height: int


def charts_of(run: RunData) -> dict[str, list[Chart]]:
    """Charts by section; a section without anything to show is an empty list."""
    story = story_of(run)
    if story is not None:
        results = [accuracy_chart(run)] if story.by_level and run.results else []
        return {
            "results": [drawn(plot) for plot in (*results, *mask_results(run))],
            "curves": [drawn(plot) for plot in mask_curves(run)],
            "layers": [],
            "nodes": [],
            "network": [],
        }
    lottery = run.meta.experiment == "lottery"
    found: list[Plot] = []
    if lottery and run.results:
        found.append(accuracy_chart(run))
        if any(row.cells for row in level_rows(run, best_step)):
            found.append(speed_chart(run))
    curves: Sequence[Plot] = ()
    layers: Sequence[Plot] = ()
    if run.curves:
        curves = learning_charts(run) if lottery else training_charts(run)
    if run.curves and sleeps(run):
        layers = [layers_chart(run), bars_chart(run) if lottery else sparsity_chart(run)]
    return {
        "results": [drawn(plot) for plot in found],
        "curves": [drawn(plot) for plot in curves],
        "layers": [drawn(plot) for plot in layers],
        "nodes": [drawn(plot) for plot in node_charts(run)],
        "network": [drawn(plot) for plot in network_charts(run)],
    }


def nodes_of(run: RunData) -> dict[str, Any]:
    """Tables and pictures of nodes; the tables are empty where the run knows of none."""
    rows = node_cells(run)
    return {
        "groups": group_cells(run),
        "caption": GROUPS_CAPTION,
        "rows": rows,
        "shown": max(0, len(rows) - 1),
        "in_all": nodes_in_all(run),
        "seed": first_seed(run),
        "lives": [image(picture) for picture in node_pictures(run)],
    }


def compare_charts(runs: Sequence[RunData]) -> tuple[Plot, ...]:
    """Accuracy against weights left where that says something, and task by task where there are."""
    done = [run for run in runs if run.results]
    stories = [(run, story_of(run)) for run in done]
    levelled = [run for run, story in stories if story is None or story.by_level]
    charts = [compare_chart(levelled)] if levelled else []
    tasks = [run for run in done if run.meta.experiment == "task_masks"]
    return (*charts, *([tasks_chart(tasks)] if tasks else []))


def drawn(plot: Plot) -> Chart:
    """A drawing for the page."""
    return Chart(plot.inline_svg(), plot.caption, plot.alt)


def image(picture: Picture) -> Image:
    """A picture for the page."""
    data = base64.b64encode(png(picture.grid, picture.marked)).decode("ascii")
    height, width = picture.grid.shape
    words = plain(picture.title)
    return Image(f"data:image/png;base64,{data}", words, plain(picture.alt), width, height)


def pictures_of(run: RunData) -> dict[str, Any]:
    """Pictures of masks; none where nothing ever slept."""
    return {
        "first": [image(picture) for picture in pictures(run)] if sleeps(run) else [],
        "every": [image(picture) for picture in matrices(run)],
        "legend": legend(run),
    }
