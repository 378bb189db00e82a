"""One self-contained HTML page for a run, and one for several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sleepengine.errors import SetupError
from sleepengine.files import atomic
from sleepengine.report.headline import headline
from sleepengine.report.mask_results import story_of
from sleepengine.report.rows import compare_rows, labels, refuse_twins, unlike
from sleepengine.report.run_data import RunData
from sleepengine.report.sections import (
    charts_of,
    compare_charts,
    drawn,
    nodes_of,
    pictures_of,
)
from sleepengine.report.tables import Cells, compare_cells, reference_text, result_cells
from sleepengine.report.words import arm_name, count, duration, moment, plain, share

MOST_JOURNAL_ROWS = 200
_TEMPLATES = ("page.html.j2", "compare.html.j2", "base.html.j2", "parts.html.j2", "page.css")


def write_report(run_path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a run and return its path, `RUN/report.html` unless `out` says otherwise.

    Raises:
        FileError: the run folder is damaged, or the page cannot be written.
        SetupError: matplotlib or jinja2 is not installed.
    """
    run = RunData.load(run_path)
    return _write(render_page(run), Path(out) if out else run.path / "report.html")


def write_compare(run_paths: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page that sets several runs side by side and return its path.

    Raises:
        FileError: a run folder is damaged, or the page cannot be written.
        SetupError: a run is given twice, or matplotlib or jinja2 is not installed.
    """
    return _write(render_compare([RunData.load(path) for path in run_paths]), Path(out))


def render_page(run: RunData) -> str:
    """The page of one run; the same run gives the same text."""
    cells = result_cells(run)
    return _render(
        "page.html.j2",
        {
            "meta": run.meta,
            "title": plain(run.meta.name),
            "headline": _sentences(run),
            "summary": _summary(run),
            "facts": _facts(run),
            "table": cells,
            "caption": _caption(run),
            "over": _over(run),
            "has_results": bool(run.results),
            "charts": charts_of(run),
            "masks": pictures_of(run),
            "nodes": nodes_of(run),
            "journal": _journal(run),
            "journal_total": count(len(run.journal)),
            "journal_total_number": len(run.journal),
            "journal_shown": min(len(run.journal), MOST_JOURNAL_ROWS),
            "config": run.config,
        },
    )


def render_compare(runs: Sequence[RunData]) -> str:
    """The page of several runs.

    Raises:
        SetupError: a run is given twice.
    """
    refuse_twins(runs)
    told = any(row.of for row in compare_rows(runs))
    stories = [
        (plain(label), run.meta.status, _sentences(run))
        for run, label in zip(runs, labels(runs), strict=True)
    ]
    return _render(
        "compare.html.j2",
        {
            "title": f"{len(runs)} runs compared",
            "heading": "Results" if told else "At the sparsest level",
            "kind": "compare told" if told else "compare",
            "note": unlike(runs),
            "table": compare_cells(runs),
            "charts": [drawn(chart) for chart in compare_charts(runs)],
            "stories": stories,
        },
    )


def _render(template: str, values: Mapping[str, Any]) -> str:
    try:
        import jinja2
    except ImportError as error:
        raise SetupError(
            'Reports need jinja2, which is missing: pip install "sleepengine[report]"'
        ) from error
    folder = resources.files("sleepengine.report")
    sources = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in _TEMPLATES}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values)


def _write(page: str, out: Path) -> Path:
    target = out / "report.html" if out.is_dir() else out
    atomic.write(target, [page.encode("utf-8")])
    return target


def _sentences(run: RunData) -> tuple[str, ...]:
    """The headline with ± kept on one line with its numbers."""
    return tuple(sentence.replace(" ± ", "\u00a0±\u00a0") for sentence in headline(run))


def _over(run: RunData) -> str:
    """What kind of experiment it is."""
    story = story_of(run)
    if story is not None:
        return story.over
    return "Lottery ticket experiment" if run.meta.experiment == "lottery" else "Training"


def _caption(run: RunData) -> str:
    """How to read the table of results."""
    story = story_of(run)
    if story is not None:
        return story.caption.replace(" ± ", "\u00a0±\u00a0")
    fixed = reference_text(run).replace(" ± ", "\u00a0±\u00a0")
    words = "Test accuracy in percent, mean ± 95% interval over the seeds."
    gaps = " Differences in points, seed by seed." if run.meta.experiment == "lottery" else ""
    return f"{words}{gaps}" + (f" {fixed[:1].upper()}{fixed[1:]}." if fixed else "")


def _summary(run: RunData) -> str:
    seeds = "1 seed" if len(run.meta.seeds) == 1 else f"{len(run.meta.seeds)} seeds"
    versions = ", ".join(f"{name} {version}" for name, version in run.meta.versions.items())
    what = f"{run.meta.data.name}, {run.meta.model.name}, {seeds}, {duration(run.meta.seconds)}"
    return plain(f"{what}; {versions}")


def _facts(run: RunData) -> tuple[tuple[str, str], ...]:
    meta, data, model = run.meta, run.meta.data, run.meta.model
    lottery = meta.experiment == "lottery"
    shape = " × ".join(str(size) for size in data.input_shape) if data.input_shape else ""
    examples = (
        f"{count(data.train)} training, {count(data.valid)} validation, {count(data.test)} test"
    )
    weights = f"{count(model.parameters)} parameters, {count(model.maskable)} may sleep"
    facts = (
        ("Data", f"{data.name}: {examples}" + (f"; input {shape}" if shape else "")),
        ("Model", f"{model.name}: {weights}"),
        ("Arms", ", ".join(arm_name(arm) for arm in meta.arms) if lottery else ""),
        ("Seeds", ", ".join(str(seed) for seed in meta.seeds)),
        ("Started", moment(meta.started)),
        ("Finished", moment(meta.finished) if meta.finished else "not yet"),
        ("Took", f"{duration(meta.seconds)} on {meta.device}"),
        ("Configuration", f"SHA-256 {meta.config_sha256[:16]}"),
    )
    return tuple((name, plain(value)) for name, value in facts if value)


def _journal(run: RunData) -> tuple[Cells, ...]:
    """The first actions; of a training, arm and level would be the same in every row."""
    lottery = run.meta.experiment == "lottery"
    return tuple(
        (
            *((arm_name(line.arm), str(line.level)) if lottery else ()),
            str(line.seed),
            count(line.step),
            plain(line.rule),
            plain(line.action),
            count(line.changed),
            share(line.fraction),
        )
        for line in run.journal[:MOST_JOURNAL_ROWS]
    )
