"""How a figure is taken: paired turns, times of one thread, peaks of a fresh process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Act = Callable[[], Any]
ENVIRONMENT = {
    "OMP_PROC_BIND": "true",  # else threads wait for the scheduler's ticks
    "OMP_PLACES": "cores",
    "MALLOC_MMAP_MAX_": "0",  # else every large block is faulted in anew
    "MALLOC_TRIM_THRESHOLD_": str(1 << 36),
}


@dataclass(frozen=True)
class Plan:
    """What is measured: `quick` for two minutes in place of twelve."""

    quick: bool
    threads: int

    def turns(self, many: int) -> int:
        """How many turns, for a measurement that deserves so many."""
        return max(3, many // 3) if self.quick else many


@dataclass(frozen=True)
class Figure:
    """One measured quantity.

    spread: its quartiles. good, near: the bars, to be met or undercut (with `at_least` to be met
    or exceeded). peers: the same quantity of others. row: its number in the list of bars.
    """

    table: int
    what: str
    value: float
    unit: str
    spread: tuple[float, float] | None = None
    good: float | None = None
    near: float | None = None
    at_least: bool = False
    peers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    def meets(self, bar: float | None) -> bool | None:
        """Whether it is as good as a bar, at the two digits that are printed."""
        if bar is None:
            return None
        shown = float(f"{self.value:.3g}")
        return shown >= bar if self.at_least else shown <= bar


def now() -> float:
    """CPU time of this thread when torch uses one thread, else the time on the wall."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds(act: Act, times: int = 1) -> float:
    """Mean time of some calls in a row."""
    start = now()
    for _ in range(times):
        act()
    return (now() - start) / times


def best(act: Act, times: int = 5) -> float:
    """The median of some single calls, after one to warm up."""
    act()
    return statistics.median(seconds(act) for _ in range(times))


def paired(
    base: Act, others: Mapping[str, Act], turns: int, least: float = 0.03
) -> tuple[float, dict[str, list[float]]]:
    """Seconds of the base, and for every other the ratios to it, one for each turn."""
    for act in (base, *others.values()):
        act(), act()
    count = max(1, round(least / max(seconds(base), 1e-6)))
    ratios: dict[str, list[float]] = {name: [] for name in others}
    bases = [seconds(base, count)]
    for _ in range(turns):
        for name, act in others.items():
            taken = seconds(act, count)
            bases.append(seconds(base, count))
            ratios[name].append(taken / ((bases[-2] + bases[-1]) / 2))
    return statistics.median(bases), ratios


def middle(values: list[float]) -> float:
    """The median."""
    return statistics.median(values)


def quartiles(values: list[float]) -> tuple[float, float]:
    """First and third quartile."""
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def percent(ratios: list[float]) -> tuple[float, tuple[float, float]]:
    """Ratios to a base as percent above it: median and quartiles."""
    first, third = quartiles(ratios)
    return 100 * (middle(ratios) - 1), (100 * (first - 1), 100 * (third - 1))


def fresh(module: str, *arguments: str) -> dict[str, float]:
    """What `python -m module arguments` prints as JSON, with the malloc that users have."""
    environment = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def peak() -> int:
    """The most memory this process has held since `reset_peak`, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM"):
                return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status has no VmHWM")


def reset_peak() -> int:
    """Start to look for a peak; returns the bytes held now."""
    with open("/proc/self/clear_refs", "w") as handle:
        handle.write("5")
    return peak()
