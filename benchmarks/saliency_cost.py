"""Time and peak memory of curvature and scores, and ratios to other implementations.

    OMP_PROC_BIND=true OMP_PLACES=cores python benchmarks/saliency_cost.py --page docs/saliency.md

Memory is what the process grows by at its peak (Linux), results included. Scorers are measured
with their curvature or activations at hand; what these cost is a row of its own. A first run of
less than two seconds is not counted; the median of up to five others is. Ratios are taken in one
process, turn by turn: ours, theirs, ours, ... and each turn is divided by the mean of its two
neighbours. With --threads 1 the time is that of the processor, which other work disturbs less.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import statistics
import time
from datetime import date
from pathlib import Path

import click
import torch
from page import machine, replace_block
from saliency_peers import PEERS, Clock, paired
from saliency_subjects import CURVATURE, SCORERS, Action, Item, Subject

Cell = dict[str, float]
Rows = dict[str, list[Cell | None]]


def measure(act: Action, clock: Clock) -> Cell:
    """Seconds and megabytes."""
    first, memory = once(act, clock)
    if first > 2:
        return {"seconds": first, "megabytes": memory}
    times: list[float] = []
    while len(times) < 5 and (not times or sum(times) < 2):
        times.append(once(act, clock)[0])
    return {"seconds": statistics.median(times), "megabytes": memory}


def once(act: Action, clock: Clock) -> tuple[float, float]:
    """One run: seconds, and megabytes above what was in use before."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident("VmRSS")
    begun = clock()
    result = act()
    taken = clock() - begun
    peak = resident("VmHWM") - before
    del result
    return taken, peak


def resident(key: str) -> float:
    """A line of the kernel's account of this process, in megabytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(key)


def rows_of(items: tuple[Item, ...], subjects: list[Subject], clock: Clock, kept: Rows) -> Rows:
    """A row per item, a cell per subject; None where it is too large for the item."""
    found = {}
    for item in items:
        if item.name in kept:
            found[item.name] = kept[item.name]
            continue
        item.prepare(Subject(200, 8))()  # what is loaded at the first use
        cells: list[Cell | None] = []
        for subject in subjects:
            fits = subject.weights <= item.most
            cells.append(measure(item.prepare(subject), clock) if fits else None)
        found[item.name] = cells
        click.echo(f"{item.name}: {' | '.join(map(said, cells))}", err=True)
    return found


def said(cell: Cell | None) -> str:
    """Seconds and megabytes as a cell of a table."""
    if cell is None:
        return "–"
    seconds, unit = cell["seconds"], "s"
    if seconds < 1:
        seconds, unit = seconds * 1e3, "ms"
    memory = max(1, round(cell["megabytes"]))
    return f"{seconds:.3g} {unit}, {memory:,} MB"


def table(head: str, columns: list[str], rows: dict[str, list[Cell | None]]) -> list[str]:
    """Markdown."""
    lines = [f"| {head} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    return lines + [f"| {name} | {' | '.join(map(said, cells))} |" for name, cells in rows.items()]


@click.command(help=__doc__)
@click.option("--page", type=click.Path(exists=True, path_type=Path), default=None)
@click.option("--out", type=click.Path(path_type=Path), default=Path("saliency_cost.json"))
@click.option("--threads", default=2, show_default=True)
@click.option("--weights", default="1000,10000,100000,1000000", show_default=True)
@click.option("--samples", default="64,256,1024", show_default=True)
@click.option("--turns", default=7, show_default=True, help="Of each ratio.")
@click.option("--only", default="", help="Pattern of rows; the others are taken from --out.")
def main(
    page: Path | None, out: Path, threads: int, weights: str, samples: str, turns: int, only: str
) -> None:
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    sizes, counts = [int(n) for n in weights.split(",")], [int(n) for n in samples.split(",")]
    before = json.loads(out.read_text()) if only else {"parts": {}, "ratios": {}}

    def old(part: str) -> Rows:
        """Rows that are not to be measured again."""
        rows = before["ratios"] if part == "ratios" else before["parts"].get(part, {})
        return {name: row for name, row in rows.items() if not re.search(only, name)}

    by_size = [Subject(size, 256) for size in sizes]
    columns = [f"{subject.size:,} weights" for subject in by_size]
    parts = {
        "curvature": rows_of(CURVATURE, by_size, clock, old("curvature")),
        "scores": rows_of(SCORERS, by_size, clock, old("scores")),
    }
    del by_size
    middle = min(100_000, max(sizes))
    by_count = [Subject(middle, count) for count in counts]
    parts["samples"] = rows_of(
        tuple(i for i in CURVATURE if i.most >= middle), by_count, clock, old("samples")
    )
    ratios = {}
    for name, build in PEERS.items():
        if name in old("ratios"):
            ratios[name] = old("ratios")[name]
            continue
        ours, theirs, agree = build()
        ratios[name] = (statistics.quantiles(paired(ours, theirs, turns, clock), n=4), agree)
        click.echo(f"{name}: {ratios[name]}", err=True)
    kind = "processor time" if threads == 1 else "wall time"
    where = f"{date.today()}, {machine(threads)}, {kind}"
    out.write_text(json.dumps({"where": where, "parts": parts, "ratios": ratios}, indent=1))
    lines = [
        f"{where}. Time and peak memory, 256 samples, two hidden layers:",
        "",
        *table("curvature, inputs", columns, parts["curvature"]),
        "",
        "With these at hand:",
        "",
        *table("scores", columns, parts["scores"]),
        "",
        f"Over the number of samples, {by_count[0].size:,} weights:",
        "",
        *table("", [f"{n:,} samples" for n in counts], parts["samples"]),
        "",
        "| ratio of times, ours / theirs | median | quartiles | results |",
        "|---|---:|---:|---|",
        *(
            f"| {name} | {q[1]:.2f} | {q[0]:.2f} to {q[2]:.2f} | {agree} |"
            for name, (q, agree) in ratios.items()
        ),
    ]
    if page is not None:
        replace_block(page, "cost", lines)
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
