"""Loss of plasticity on online permuted MNIST: plain training, ReDo and continual backprop.

Every task shuffles the pixels anew, and its samples are seen once, in small batches. What counts is
the accuracy while learning: each batch is predicted before it is learned. A network that keeps its
ability to learn does as well on the last task as on the first ones (Dohare et al. 2024).

    python benchmarks/permuted_mnist.py --data FOLDER --out FOLDER

FOLDER holds mnist.npz (or the four IDX files). Written: results.json, permuted_mnist.svg and .png.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import click
import torch
from torch import Tensor, nn

from sleepengine import Rule, SleepEngine, recipes
from sleepengine.pipeline import Split, mlp, mnist_family
from sleepengine.report.plots import COLOURS, STYLES, Pen, Plot, draw


@dataclass(frozen=True)
class Setting:
    """What is the same for all arms."""

    tasks: int
    samples: int
    width: int
    batch: int
    lr: float


@dataclass
class Recent:
    """The last inputs seen, as the data of rules that measure activations."""

    batches: deque[tuple[Tensor, Tensor]] = field(default_factory=lambda: deque(maxlen=32))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return reversed(self.batches)


@dataclass(frozen=True)
class Arm:
    """One way to train: a name and its rules."""

    name: str
    rules: Callable[[], tuple[Rule, ...]]


@dataclass(frozen=True)
class Story:
    """One network: accuracy of every task, share of silent units after it, nodes reset in it."""

    arm: str
    seed: int
    accuracy: list[float]
    silent: list[float]
    resets: list[int]
    seconds: float


def arms(threshold: float, interval: int, rate: float, maturity: int) -> tuple[Arm, ...]:
    """The three arms."""

    def redo() -> tuple[Rule, ...]:
        return recipes.redo(threshold, interval=f"{interval}it", batches=32)

    def backprop() -> tuple[Rule, ...]:
        return recipes.continual_backprop(rate, maturity=f"{maturity}it")

    return (
        Arm("plain", lambda: ()),
        Arm("ReDo", redo),
        Arm("continual backprop", backprop),
    )


def train(arm: Arm, setting: Setting, split: Split, seed: int) -> Story:
    """A plain loop over all tasks; the same tasks and first weights for every arm of a seed."""
    sizes = [setting.width] * 3
    model = mlp((split.x[0].numel(),), 10, sizes=sizes, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), setting.lr)
    recent = Recent()
    rules = arm.rules()
    engine = SleepEngine(
        model,
        optimizer,
        rules,
        data=recent,
        loss_fn=nn.functional.cross_entropy,
        example_inputs=split.x[:2].flatten(1) if rules else None,
        seed=seed,
        undo=False,
        keep_records=50,
    )
    resets = [0]
    engine.on("RESET", lambda news: resets.append(news.nodes.count()))
    tasks = torch.Generator().manual_seed(1000 + seed)
    story = Story(arm.name, seed, [], [], [], 0.0)
    begun = time.perf_counter()
    with engine.attach():
        for _ in range(setting.tasks):
            x, y = _task(split, setting.samples, tasks)
            resets.clear()
            right = 0
            for first in range(0, len(y), setting.batch):
                batch = x[first : first + setting.batch], y[first : first + setting.batch]
                recent.batches.append(batch)
                output = model(batch[0])
                right += int((output.argmax(1) == batch[1]).sum())
                optimizer.zero_grad()
                nn.functional.cross_entropy(output, batch[1]).backward()
                optimizer.step()
            story.accuracy.append(right / len(y))
            story.silent.append(_silent(model, x[:1000]))
            story.resets.append(sum(resets))
    return Story(
        arm.name, seed, story.accuracy, story.silent, story.resets, time.perf_counter() - begun
    )


def _task(split: Split, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    flat = split.x.flatten(1)
    pixels = torch.randperm(flat.shape[1], generator=generator)
    drawn = torch.randperm(len(flat), generator=generator)[:samples]
    return flat[drawn][:, pixels], split.y[drawn]


@torch.no_grad()
def _silent(model: nn.Sequential, x: Tensor) -> float:
    """Share of the hidden units that are 0 on every input."""
    dead = total = 0
    for layer in model:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            dead += int((x == 0).all(0).sum())
            total += x.shape[1]
    return dead / total


def mean_of(stories: Sequence[Story], of: Callable[[Story], Sequence[float]]) -> list[float]:
    """Task by task, over the seeds."""
    return [fmean(column) for column in zip(*(of(one) for one in stories), strict=True)]


def table(by_arm: Mapping[str, Sequence[Story]], tasks: int) -> list[str]:
    """Mean accuracy over each tenth of the tasks, one line per arm."""
    wide = max(1, tasks // 10)
    heads = [f"{first + 1}-{min(first + wide, tasks)}" for first in range(0, tasks, wide)]
    lines = [f"{'online accuracy, %, tasks':28}" + "".join(f"{head:>9}" for head in heads)]
    for name, stories in by_arm.items():
        accuracy = mean_of(stories, lambda one: one.accuracy)
        means = [100 * fmean(accuracy[i : i + wide]) for i in range(0, tasks, wide)]
        lines.append(f"{name:28}" + "".join(f"{mean:9.2f}" for mean in means))
    for name, stories in by_arm.items():
        silent = mean_of(stories, lambda one: one.silent)[-1]
        resets = fmean([sum(one.resets) for one in stories])
        seconds = fmean([one.seconds for one in stories])
        lines.append(
            f"{name:28}{100 * silent:.1f} % of units silent at the end, {resets:.0f} nodes reset, "
            f"{seconds:.0f} s"
        )
    return lines


def plot(by_arm: Mapping[str, Sequence[Story]], setting: Setting, smooth: int) -> Plot:
    """Accuracy over tasks: means over the seeds and over `smooth` tasks in a row."""

    def paint(pen: Pen) -> None:
        axes = pen.figure.subplots()
        handles = []
        for i, stories in enumerate(by_arm.values()):
            accuracy = mean_of(stories, lambda one: one.accuracy)
            shown = [fmean(accuracy[k : k + smooth]) for k in range(len(accuracy) - smooth + 1)]
            tasks = [k + (smooth + 1) / 2 for k in range(len(shown))]
            handles += axes.plot(tasks, shown, color=COLOURS[i], linestyle=STYLES[i % len(STYLES)])
        axes.set_xlabel("task")
        axes.set_title("Online accuracy")
        pen.percent_axis(axes.yaxis)
        pen.whole_steps(axes.xaxis)
        pen.legend(handles, list(by_arm))

    seeds = max(len(stories) for stories in by_arm.values())
    caption = (
        f"Permuted MNIST, {setting.samples} samples per task seen once, batches of "
        f"{setting.batch}, three hidden layers of {setting.width}, SGD {setting.lr}; mean over "
        f"{seeds} seed{'s' if seeds > 1 else ''} and {smooth} tasks."
    )
    alt = "Accuracy while learning, task by task, of " + ", ".join(by_arm)
    return draw("permuted_mnist", caption, alt, paint)


@click.command(help=__doc__)
@click.option("--data", "folder", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("permuted_mnist"))
@click.option("--tasks", default=100, show_default=True)
@click.option("--samples", default=3200, show_default=True, help="Per task.")
@click.option("--width", default=100, show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--lr", default=0.1, show_default=True)
@click.option("--seeds", default="0", show_default=True, help="As 0,1,2.")
@click.option("--threshold", default=0.1, show_default=True, help="ReDo: dormant at or below.")
@click.option("--interval", default=250, show_default=True, help="ReDo: steps between resets.")
@click.option("--rate", default=3e-4, show_default=True, help="Continual backprop.")
@click.option("--maturity", default=100, show_default=True, help="Continual backprop, in steps.")
@click.option("--arms", "only", default="", help="Some of plain,ReDo,continual backprop.")
def main(
    folder: Path,
    out: Path,
    tasks: int,
    samples: int,
    width: int,
    batch: int,
    lr: float,
    seeds: str,
    threshold: float,
    interval: int,
    rate: float,
    maturity: int,
    only: str,
) -> None:
    torch.set_num_threads(1)
    setting = Setting(tasks, samples, width, batch, lr)
    split = mnist_family(folder).train
    split = Split(split.x.flatten(1), split.y)
    chosen = [a for a in arms(threshold, interval, rate, maturity) if not only or a.name in only]
    by_arm: dict[str, list[Story]] = {}
    for arm in chosen:
        for seed in map(int, seeds.split(",")):
            by_arm.setdefault(arm.name, []).append(train(arm, setting, split, seed))
    out.mkdir(parents=True, exist_ok=True)
    click.echo("\n".join(table(by_arm, tasks)))
    told = {"setting": vars(setting), "stories": [vars(s) for a in by_arm.values() for s in a]}
    (out / "results.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    drawn = plot(by_arm, setting, smooth=min(5, tasks))
    drawn.save_svg(out / "permuted_mnist.svg")
    drawn.save_png(out / "permuted_mnist.png")


if __name__ == "__main__":
    main()
