"""The figures as a table, a JSON file, a plot, and a block of docs/speed.md."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.speed.measuring import Figure

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TITLES = {
    1: "Cost per training step",
    2: "Choosing",
    3: "Sleep and wake as whole events",
    4: "Memory",
    5: "Compact nodes",
    6: "Attached and idle; starting",
    7: "Growth with the number of weights, in passes (one read and write of them all)",
}
HEAD = "| quantity | ours | quartiles | good | met | near the limit | met | others | remark |"


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _met(figure: Figure, bar: float | None) -> tuple[str, str]:
    if bar is None:
        return "", ""
    sign = ">=" if figure.at_least else "<="
    return f"{sign} {number(bar)}", "yes" if figure.meets(bar) else "**no**"


def row(figure: Figure) -> str:
    """One line of a Markdown table."""
    spread = "" if figure.spread is None else " to ".join(number(x) for x in figure.spread)
    good, near = _met(figure, figure.good), _met(figure, figure.near)
    peers = ", ".join(f"{name} {number(value)}" for name, value in figure.peers.items())
    cells = [figure.what, f"{number(figure.value)} {figure.unit}", spread, *good, *near, peers]
    return "| " + " | ".join([*cells, figure.note]) + " |"


def machine(threads: int) -> str:
    """What it was measured on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
        cores = sum(x.startswith("processor") for x in lines)
    except (OSError, StopIteration):
        cores = torch.get_num_threads()
    return (
        f"{cores} cores of {model}, {threads} thread{'s' * (threads > 1)}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def summary(figures: Sequence[Figure]) -> str:
    """How many bars are met."""
    told = []
    for label, bars in (
        ("good", [f.meets(f.good) for f in figures]),
        ("near the limit", [f.meets(f.near) for f in figures]),
    ):
        asked = [met for met in bars if met is not None]
        told.append(f"{label}: {sum(asked)} of {len(asked)} bars met")
    return "; ".join(told)


def block(figures: Sequence[Figure], command: str, where: str, remark: str) -> str:
    """All tables as Markdown."""
    date = datetime.date.today().isoformat()
    parts = [f"`{command}`, {date}, {where}. {remark}".strip(), summary(figures) + "."]
    for table, title in TITLES.items():
        rows = [row(f) for f in figures if f.table == table]
        if rows:
            parts.append("\n".join([f"### {title}\n", HEAD, "|" + "---|" * 9, *rows]))
    return "\n\n".join(parts)


def write(
    figures: Sequence[Figure], folder: Path, command: str, where: str, remark: str
) -> tuple[Path, Path]:
    """The JSON file and the plot; returns where they are. Parts of a run have other names."""
    folder.mkdir(parents=True, exist_ok=True)
    part = "".join(command.split("benchmarks.speed")[1:]).replace(" --", "-").replace(" ", "")
    path = folder / f"{datetime.date.today().isoformat()}{part}.json"
    told = {
        "command": command,
        "machine": where,
        "remark": remark,
        "summary": summary(figures),
        "figures": [asdict(f) for f in figures],
    }
    path.write_text(json.dumps(told, indent=1))
    plot = path.with_suffix(".svg")
    draw(figures, plot)
    return path, plot


def draw(figures: Sequence[Figure], path: Path) -> None:
    """How far each figure is from its bar, and how costs grow."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    barred = [f for f in figures if f.good]
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(15, 2 + 0.24 * len(barred)), width_ratios=(2, 1), layout="constrained"
    )
    for place, f in enumerate(reversed(barred)):
        assert f.good is not None
        ratio = f.good / f.value if f.at_least else f.value / f.good
        left.barh(place, max(ratio, 0.01), color="#2a7f62" if f.meets(f.good) else "#b5442e")
        if f.near:
            near = f.good / f.near if f.at_least else f.near / f.good
            left.plot([near, near], [place - 0.4, place + 0.4], color="black", lw=1.5)
    left.set_yticks(range(len(barred)), [f.what for f in reversed(barred)], fontsize=8)
    left.axvline(1, color="gray", lw=1)
    left.set_xlabel("share of the bar that is used (1 = the bar; black: near the limit)")
    left.set_xlim(0, 2)
    lines: dict[str, list[tuple[int, float]]] = {}
    for f in figures:
        if f.table == 7 and f.unit == "passes":
            name, size = f.what.rsplit(", ", 1)
            lines.setdefault(name, []).append((int(size.split()[0]), f.value))
    for name, points in lines.items():
        right.plot(*zip(*points, strict=True), marker="o", label=name)
    right.set(xscale="log", yscale="log", xlabel="million weights", ylabel="passes over memory")
    if lines:
        right.legend(fontsize=8)
    fig.savefig(path)
    plt.close(fig)


def put_in_page(page: Path, text: str) -> None:
    """Replace what stands between the two markers of a page."""
    before, rest = page.read_text().split(BEGIN, 1)
    _, after = rest.split(END, 1)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
