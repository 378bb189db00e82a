"""Loss right after weights are removed at once, without fine-tuning: which scorer predicts best?

Small networks are trained to the end of a cosine schedule, and from each trained network the same
share of the weights is removed by every scorer. Scorers that can (OBS and its relatives) move the
survivors; nothing else is trained. Curvature and activations are of all training samples, and the
loss is the mean over them. A network per seed; all scorers see the same networks.

    python benchmarks/saliency_oneshot.py --out FOLDER [--data FOLDER_WITH_MNIST] [--page PAGE]

Written are a JSON file per network and seed (those that are there already are not measured again),
table.md, and a chart per network as SVG and PNG. The digits that come with scikit-learn are the
data unless a folder with mnist.npz (or the four IDX files) is named; their pixels are then
averaged to 14 x 14, and 3,000 training samples are taken. A page gets the tables between its
marks, and the charts beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import click
import torch
from page import machine, replace_block
from saliency_cases import GREEDY, JOINT, METHODS, NETWORKS, TWICE, Method, Trained, trained
from torch import Tensor
from torch.nn.functional import avg_pool2d

from saliency import CompensatingScorer, InverseScorer
from sleepengine.choosing import choose, to
from sleepengine.pipeline.problems.bundle import Split
from sleepengine.pipeline.problems.data import digits, mnist_family
from sleepengine.report.plots import COLOURS, MARKERS, STYLES, Pen, Plot, draw
from sleepengine.report.statistics import Interval, mean_interval

Row = dict[str, float]
Rows = Mapping[str, Mapping[float, Sequence[Row]]]  # method -> share -> one row per network
SHOWN = ("random", "magnitude", "Taylor", "OBD", GREEDY, "block OBS (50)")
SHOWN += ("ExactOBS", "SparseGPT", "Wanda")
DENSE = "none"  # the row of the network before any removal


def remove(case: Trained, method: Method, share: float, memory: dict[str, object]) -> Row:
    """Loss and accuracy without this share, and the time that measuring and scoring took."""
    before = {name: p.detach().clone() for name, p in case.weights.items()}
    asleep: dict[str, Tensor] = {}
    seconds, predicted = 0.0, 0.0
    try:
        for stage in range(1, method.stages + 1):
            target = share * stage / method.stages
            scorer = method.scorer(target)
            measuring, signals = case.signals(scorer, asleep)
            scores, scoring = _scores(case, method, scorer, signals, memory)
            chosen = choose(scores, method.pools, to(target), asleep=asleep, eligible={}).masks
            seconds += measuring + scoring
            if isinstance(scorer, InverseScorer):
                predicted += scorer.loss(chosen, signals)
            update = {}
            if method.update:
                assert isinstance(scorer, CompensatingScorer)
                update = scorer.compensate(chosen, signals)
            with torch.no_grad():
                for name, p in case.weights.items():
                    gone = chosen[name] | asleep.get(name, torch.zeros_like(chosen[name]))
                    p.copy_((p + update.get(name, 0.0)).masked_fill(gone, 0.0))
                    asleep[name] = gone
        loss, accuracy = case.loss()
    finally:
        with torch.no_grad():
            for name, p in case.weights.items():
                p.copy_(before[name])
    return {"loss": loss, "accuracy": accuracy, "predicted": predicted, "seconds": seconds}


def _scores(case, method, scorer, signals, memory):  # type: ignore[no-untyped-def]
    """Scores in full shape, and the seconds; from memory where they do not depend on the share."""
    if method.name not in memory:
        begun = time.process_time()
        scores = scorer.score(signals)
        taken = time.process_time() - begun
        found = {n: s.expand(signals.weights[n].shape) for n, s in scores.items()}
        if method.again or method.stages > 1:
            return found, taken
        memory[method.name] = (found, taken)
    return memory[method.name]


def measured(case: Trained, shares: Sequence[float]) -> dict[str, dict[str, Row]]:
    """Everything about one network: method -> share -> row."""
    loss, accuracy = case.loss()
    rows: dict[str, dict[str, Row]] = {DENSE: {"0": {"loss": loss, "accuracy": accuracy}}}
    memory: dict[str, object] = {}
    for method in METHODS:
        rows[method.name] = {str(share): remove(case, method, share, memory) for share in shares}
    return rows


def said(interval: Interval, digits: int = 3) -> str:
    """Mean and half width; a single network has none."""
    spread = "" if interval.half_width is None else f" ± {interval.half_width:.2g}"
    return f"{interval.mean:.{digits}g}{spread}"


def percent(interval: Interval) -> str:
    """The same, of percent."""
    spread = "" if interval.half_width is None else f" ± {interval.half_width:.1f}"
    return f"{interval.mean:.1f}{spread}"


def table(rows: Rows) -> list[str]:
    """A line per method, a column per share: loss, and accuracy below it."""
    shares = list(rows[GREEDY])
    lines = ["| loss; accuracy in % | " + " | ".join(f"{s:.0%}" for s in shares) + " |"]
    lines.append("|---|" + "---:|" * len(shares))
    for name, by_share in rows.items():
        cells = []
        for share in shares:
            loss = mean_interval([one["loss"] for one in by_share[share]])
            right = mean_interval([one["accuracy"] for one in by_share[share]])
            cells.append(f"{said(loss, 2)}; {percent(right)}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def against_greedy(rows: Rows) -> list[str]:
    """What more time than greedy removal's buys, network by network."""
    lines = ["| removed | by | predicted loss | measured loss | time |"]
    lines.append("|---|---|---:|---:|---:|")
    for share in rows[GREEDY]:
        for name in (JOINT, TWICE):
            pairs = list(zip(rows[name][share], rows[GREEDY][share], strict=True))
            ratios = {
                key: mean_interval([a[key] / b[key] for a, b in pairs])
                for key in ("predicted", "loss", "seconds")
            }
            predicted = said(ratios["predicted"]) if name == JOINT else ""
            cells = [name, predicted, said(ratios["loss"]), said(ratios["seconds"], 2)]
            lines.append(f"| {share:.0%} | " + " | ".join(cells) + " |")
    return lines


def chart(network: str, rows: Rows, dense: Interval, data: str) -> Plot:
    """Loss over the removed share, with intervals."""

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for i, name in enumerate(SHOWN):
            means = [mean_interval([o["loss"] for o in ones]) for ones in rows[name].values()]
            x = [share + 0.004 * (i - len(SHOWN) / 2) for share in rows[name]]
            low = [min(m.half_width or 0, 0.999 * m.mean) for m in means]
            high = [m.half_width or 0 for m in means]
            handles.append(
                axes.errorbar(
                    x,
                    [m.mean for m in means],
                    yerr=[low, high],
                    color=COLOURS[i % len(COLOURS)],
                    linestyle=STYLES[i // len(COLOURS)],
                    marker=MARKERS[i % len(MARKERS)],
                    elinewidth=0.8,
                    linewidth=1.2,
                )
            )
        axes.axhline(dense.mean, color="#7a7f87", linewidth=0.8)
        axes.set_yscale("log")
        axes.set_xlabel("weights removed")
        axes.set_title("Training loss after one-shot removal")
        pen.percent_axis(axes.xaxis)
        pen.legend(handles, SHOWN)

    seeds = len(next(iter(rows[GREEDY].values())))
    caption = (
        f"{network} on {data}, no fine-tuning; mean over {seeds} networks with 95 % intervals. "
        f"The grey line is the dense network, {dense.mean:.3g}."
    )
    alt = f"Loss of {network} against the share of removed weights, for {', '.join(SHOWN)}"
    return draw(f"saliency_oneshot_{network}", caption, alt, paint, height=4.2)


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=Path("saliency_oneshot"))
@click.option("--data", "folder", type=click.Path(exists=True, path_type=Path), default=None)
@click.option("--page", type=click.Path(exists=True, path_type=Path), default=None)
@click.option("--seeds", default=6, show_default=True)
@click.option("--epochs", default=30, show_default=True)
@click.option("--shares", default="0.5,0.6,0.7,0.8,0.9", show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(
    out: Path,
    folder: Path | None,
    page: Path | None,
    seeds: int,
    epochs: int,
    shares: str,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    train, test = splits(folder)
    data = "digits" if folder is None else "MNIST, 14 x 14"
    out.mkdir(parents=True, exist_ok=True)
    removed = [float(share) for share in shares.split(",")]
    lines = [f"{date.today()}, {machine(threads)}; {data}, {len(train.y):,} training samples."]
    for network, make in NETWORKS.items():
        all_rows = []
        for seed in range(seeds):
            file = out / f"{network}-{seed}.json"
            if not file.exists():
                case = trained(make, train, test, seed, epochs)
                file.write_text(json.dumps(measured(case, removed), indent=1))
                click.echo(f"{network}, seed {seed}", err=True)
            all_rows.append(json.loads(file.read_text()))
        rows = {
            m.name: {share: [one[m.name][str(share)] for one in all_rows] for share in removed}
            for m in METHODS
        }
        dense = [one[DENSE]["0"] for one in all_rows]
        loss, right = (mean_interval([d[key] for d in dense]) for key in ("loss", "accuracy"))
        size = sum(p.numel() for p in make(train.x.shape[1:]).parameters() if p.dim() > 1)
        plot = chart(network, rows, loss, data)
        for folder_ in {out, out if page is None else page.parent}:
            plot.save_svg(folder_ / f"{plot.name}.svg")
        plot.save_png(out / f"{plot.name}.png")
        lines += [
            "",
            f"**{network}**, {size:,} weights, {seeds} networks; dense {said(loss, 2)}; "
            f"{percent(right)}. Training loss; test accuracy:",
            "",
            *table(rows),
            "",
            f"![{plot.alt}]({plot.name}.svg)",
            "",
            f"Next to greedy removal ({network}), as ratios:",
            "",
            *against_greedy(rows),
        ]
    (out / "table.md").write_text("\n".join(lines) + "\n")
    if page is not None:
        replace_block(page, "one-shot", lines)
    click.echo("\n".join(lines))


def splits(folder: Path | None) -> tuple[Split, Split]:
    """Training and test samples."""
    if folder is None:
        data = digits()
        return data.train, data.test
    data = mnist_family(folder)
    some = torch.randperm(len(data.train.y), generator=torch.Generator().manual_seed(0))[:3000]
    train = Split(avg_pool2d(data.train.x[some], 2), data.train.y[some])
    return train, Split(avg_pool2d(data.test.x, 2), data.test.y)


if __name__ == "__main__":
    main()
