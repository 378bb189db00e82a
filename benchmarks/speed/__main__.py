"""python -m benchmarks.speed [--quick] [--only 1,3] [--threads 1] [--docs] [--remark TEXT]."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path

import click
import torch

from benchmarks.speed import (
    attaching,
    compacting,
    growing,
    memory,
    presenting,
    selecting,
    steps,
    switching,
)
from benchmarks.speed.measuring import ENVIRONMENT, Figure, Plan

TABLES = {
    1: steps.measure,
    2: selecting.measure,
    3: switching.measure,
    4: memory.measure,
    5: compacting.measure,
    6: attaching.measure,
    7: growing.measure,
}
RESULTS = Path(__file__).resolve().parents[1] / "results"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "speed.md"


@click.command()
@click.option("--quick", is_flag=True, help="Two minutes in place of twelve.")
@click.option("--only", default="", help="Numbers of tables, as 1,3.")
@click.option("--threads", default=1, help="Threads of torch.")
@click.option("--docs", is_flag=True, help="Put the tables into docs/speed.md.")
@click.option("--remark", default="", help="A sentence to stand beside the machine.")
def main(quick: bool, only: str, threads: int, docs: bool, remark: str) -> None:
    """Measure, print, write benchmarks/results/<date>.json and .svg."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    wanted = [int(k) for k in only.split(",")] if only else list(TABLES)
    figures: list[Figure] = []
    start = time.perf_counter()
    for table in wanted:
        click.echo(f"\n{presenting.TITLES[table]}\n{presenting.HEAD}\n|" + "---|" * 9)
        for figure in TABLES[table](Plan(quick, threads)):
            figures.append(figure)
            click.echo(presenting.row(figure))
        gc.collect()
    options = [o for o, given in (("--quick", quick), (f"--only {only}", only)) if given]
    options += [f"--threads {threads}"] if threads != 1 else []
    command = " ".join(["python -m benchmarks.speed", *options])
    where = presenting.machine(threads)
    paths = presenting.write(figures, RESULTS, command, where, remark)
    if docs:
        presenting.put_in_page(PAGE, presenting.block(figures, command, where, remark))
    taken = time.perf_counter() - start
    click.echo(f"\n{presenting.summary(figures)}; {taken:.0f} s; {paths[0]}, {paths[1]}")


if __name__ == "__main__":
    if any(os.environ.get(key) != value for key, value in ENVIRONMENT.items()):
        # Malloc and OpenMP read these when a process starts.
        arguments = [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **ENVIRONMENT})
    main()
