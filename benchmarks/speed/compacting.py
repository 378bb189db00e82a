"""Table 5: sleeping nodes taken out, against a dense model and one built small."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import torch

import sleepengine as se
from benchmarks.models import SUBJECTS
from benchmarks.speed.loops import OPTIMIZERS, Loop
from benchmarks.speed.measuring import Figure, Plan, middle, paired, quartiles, seconds

STEP_OF = {
    "mlp 1024-4096-4096-1024": "mlp4096",
    "resnet18, channels within blocks": "resnet18",
    "resnet18, all channels": "resnet18",
    "transformer, hidden units and heads": "gpt",
}
BARS = {
    ("mlp 1024-4096-4096-1024", 0.5): (2.7, 3.0),
    ("mlp 1024-4096-4096-1024", 0.9): (15, 20),
    ("resnet18, channels within blocks", 0.5): (1.7, 1.85),
    ("resnet18, channels within blocks", 0.9): (3.0, 3.4),
    ("resnet18, all channels", 0.5): (3.0, 3.3),
    ("transformer, hidden units and heads", 0.5): (1.75, 1.9),
    ("transformer, hidden units and heads", 0.9): (4.5, 5.2),
}


def measure(plan: Plan) -> Iterator[Figure]:
    for (name, share), bars in BARS.items():
        if not plan.quick or (name.startswith("mlp") and share == 0.5):
            yield from _one(plan, name, share, bars)
            gc.collect()


def _one(plan: Plan, name: str, share: float, bars: tuple[float, float]) -> Iterator[Figure]:
    subject, step_of, make = SUBJECTS[name], STEP_OF[name], OPTIMIZERS["AdamW"]
    dense, ours = Loop(step_of, make), Loop(step_of, make)
    inputs = ours.x[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = se.find_groups(ours.model, inputs).groups
        groups = tuple(g for g in found if subject.sleeping(g.name, g.size, share))
        engine = se.SleepEngine(ours.model, ours.optimizer, nodes=groups, undo=False).attach()
        ours(), ours()
        for group in groups:
            asleep = torch.randperm(group.size)[: subject.sleeping(group.name, group.size, share)]
            engine.sleep_nodes(group.name, asleep.tolist())
        engine.compact(example_inputs=inputs)
    small = Loop(step_of, make, subject.small(share))
    others = {"ours": ours, "built small": small}
    base, ratios = paired(dense, others, plan.turns(5))
    speed = [1 / ratio for ratio in ratios["ours"]]
    where = f"{name}, {share:.0%} of the nodes asleep"
    yield Figure(
        5, f"speed of a compact step, {where}", middle(speed), "x", quartiles(speed), *bars,
        at_least=True, peers={"built small": 1 / middle(ratios["built small"])},
    )  # fmt: skip
    moves = []
    for _ in range(5):
        ours()
        moves.append((seconds(engine.expand) + seconds(engine.compact)) / base)
    limits = (0.6, 0.3) if name.startswith("mlp") else (0.06, 0.03)
    yield Figure(
        5, f"compact and expand, {where}", middle(moves), "steps", quartiles(moves), *limits
    )
