"""Training steps with sleeping nodes: masked, compacted, and the same size built by hand.

    OMP_NUM_THREADS=1 python benchmarks/compaction.py [--turns 7] [--out FILE]

Times are CPU times of one thread. Ratios are paired: base, other, base, other, ... and each turn is
divided by the mean of the two turns of the base beside it; the median is told, with the quartiles
in FILE. `prune` is Torch-Pruning on the same model: it has no way back, keeps no optimizer state,
and what it leaves is trained at the speed of the hand-built model.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import torch
from models import SUBJECTS, Subject
from torch import nn
from torch.nn import functional as F

from sleepengine import NodeGroup, SleepEngine, find_groups

SHARES = (0.5, 0.75, 0.9)
Step = Callable[[], None]


class Loop:
    """A model in training: one call is one step."""

    def __init__(self, model: nn.Module, batch: tuple[Any, Any]) -> None:
        self.model = model.train()
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        self.x, self.y = batch

    def __call__(self) -> None:
        self.optimizer.zero_grad()
        output = self.model(self.x)
        F.cross_entropy(output.flatten(0, -2), self.y.flatten()).backward()
        self.optimizer.step()


def seconds(act: Step, times: int = 1) -> float:
    start = time.thread_time()
    for _ in range(times):
        act()
    return (time.thread_time() - start) / times


def paired(base: Step, others: Mapping[str, Step], turns: int) -> dict[str, list[float]]:
    """Name -> ratios to the base, one for each turn."""
    for act in (base, *others.values()):
        act(), act()
    count = {name: max(1, int(0.03 / max(seconds(act), 1e-4))) for name, act in others.items()}
    ratios: dict[str, list[float]] = {name: [] for name in others}
    before = seconds(base)
    for _ in range(turns):
        for name, act in others.items():
            now = seconds(act, count[name])
            after = seconds(base)
            ratios[name].append(now / ((before + after) / 2))
            before = after
    return ratios


def asleep(subject: Subject, model: nn.Module, groups: tuple[NodeGroup, ...], share: float) -> Any:
    """A loop under an engine, with its nodes asleep."""
    loop = Loop(model, subject.batch())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = SleepEngine(model, loop.optimizer, nodes=groups, undo=False).attach()
        loop(), loop()
        for group in groups:
            count = subject.sleeping(group.name, group.size, share)
            if count:
                engine.sleep_nodes(group.name, torch.randperm(group.size)[:count].tolist())
    return loop, engine


def pruned(subject: Subject, share: float) -> tuple[float, nn.Module] | None:
    """Seconds that Torch-Pruning needs for the same share, and the model that it leaves."""
    import torch_pruning as tp

    model = subject.make()
    if hasattr(model, "layers"):
        return None  # heads and hidden units alone: it has no call for this choice
    x, _ = subject.batch()
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    start = time.thread_time()
    pruner = tp.pruner.MagnitudePruner(
        model, x[:1], tp.importance.MagnitudeImportance(p=1), pruning_ratio=share,
        ignored_layers=[last],
    )  # fmt: skip
    pruner.step()
    return time.thread_time() - start, model


def measure(name: str, share: float, turns: int) -> dict[str, Any]:
    subject = SUBJECTS[name]
    torch.manual_seed(0)
    model = subject.make()
    inputs = subject.batch()[0][:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = find_groups(model, inputs).groups
    groups = tuple(g for g in groups if subject.sleeping(g.name, g.size, share))
    dense = Loop(subject.make(), subject.batch())
    masked, _ = asleep(subject, subject.make(), groups, share)
    compact, engine = asleep(subject, model, groups, share)
    first = seconds(lambda: engine.compact(example_inputs=inputs))
    made = engine.compacted
    by_hand = Loop(subject.small(share), subject.batch())
    ratios = paired(dense, {"masked": masked, "compact": compact, "by hand": by_hand}, turns)
    ratios["compact / by hand"] = paired(by_hand, {"compact": compact}, 2 * turns + 1)["compact"]
    moves = []
    for _ in range(5):
        compact()  # a gradient is there, as after any step
        moves.append(seconds(engine.expand) + seconds(engine.compact))
    step = seconds(dense, 2)
    middle = {key: statistics.median(values) for key, values in ratios.items()}
    moved = statistics.median(moves) / step
    result = {
        "model": name,
        "asleep": share,
        "left": made.left,
        "parameters": made.after / made.before,
        "by hand parameters": sum(p.numel() for p in by_hand.model.parameters()) / made.before,
        "step": step,
        "speed": {key: 1 / middle[key] for key in ("masked", "compact", "by hand")},
        "compact / by hand": statistics.quantiles(ratios["compact / by hand"], n=4),
        "moves in steps": moved,
        "first compact in steps": first / step,
        "pays after steps": moved / max(middle["masked"] - middle["compact"], 1e-9),
        "ratios": ratios,
    }
    if "within" not in name and (peer := pruned(subject, share)) is not None:
        again = Loop(peer[1], subject.batch())
        result["prune in steps"] = peer[0] / step
        result["speed"]["prune"] = 1 / statistics.median(paired(dense, {"p": again}, turns)["p"])
    return result


def row(one: Mapping[str, Any]) -> str:
    speed, quarter = one["speed"], one["compact / by hand"]
    peer = f"{speed['prune']:.2f} / {one['prune in steps']:.2f}" if "prune" in speed else "-"
    return (
        f"| {one['model']} {one['asleep']:.0%} | {one['parameters']:.3f} "
        f"| {speed['masked']:.2f} | {speed['compact']:.2f} | {speed['by hand']:.2f} "
        f"| {quarter[1]:.3f} [{quarter[0]:.3f}, {quarter[2]:.3f}] "
        f"| {one['moves in steps']:.3f} | {one['pays after steps']:.2f} "
        f"| {one['first compact in steps']:.2f} | {peer} |"
    )


@click.command()
@click.option("--turns", default=5, help="Turns of each measurement.")
@click.option("--only", default="", help="Measure models whose name holds this.")
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file for all numbers.")
def main(turns: int, only: str, out: Path | None) -> None:
    torch.set_num_threads(1)
    click.echo(
        "| model, nodes asleep | parameters | masked | compact | by hand | compact / by hand "
        "| compact + expand, steps | pays after, steps | first, with trial, steps "
        "| prune: speed / steps |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    results = []
    for name in SUBJECTS:
        for share in SHARES if only in name else ():
            results.append(measure(name, share, turns))
            click.echo(row(results[-1]))
            gc.collect()
    if out is not None:
        out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
