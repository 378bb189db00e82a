"""Table 3: sleep, wake and exchange as whole events on a live model with optimizer state."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import prune

import sleepengine as se
from benchmarks.speed.loops import OPTIMIZERS, Engined, Loop, weights
from benchmarks.speed.measuring import Figure, Plan, best, middle, seconds
from sleepengine.masks.bits import pack
from sleepengine.masks.parked import Parked

SLEEP = se.Rule(
    se.once("0it"), se.Who(se.Magnitude(), pools=se.Global(), amount=se.to(0.9)), se.Sleep(),
    name="sleep",
)  # fmt: skip
WAKE = se.Rule(se.once("0it"), se.Who(amount=se.to(0.0)), se.Wake(), name="wake")
DROP = se.Rule(se.once("0it"), se.Who(se.Magnitude(), amount=se.by(0.3)), se.Sleep(), name="drop")
GROW = se.Rule(
    se.once("0it"), se.Who(se.Random(), amount=se.to(0.9)), se.Wake(value="zero"), name="grow"
)
BARS = {
    "mlp300": (None, None, None, None),
    "mlp4096": (1.0, 0.4, 0.4, 0.2),
    "resnet18": (0.1, 0.05, 0.06, 0.03),
    "gpt": (0.1, 0.05, 0.06, 0.03),
}


def measure(plan: Plan) -> Iterator[Figure]:
    for model, bars in BARS.items():
        if plan.quick and model in ("resnet18", "gpt"):
            continue
        yield from _events(plan, model, bars)
        gc.collect()
    yield from _one_tensor(plan)
    yield from _many_tensors(plan)


def _events(plan: Plan, model: str, bars: tuple[float | None, ...]) -> Iterator[Figure]:
    ours = Engined(model, OPTIMIZERS["AdamW"])
    dense = Loop(model, OPTIMIZERS["AdamW"])
    dense(), dense()
    step = middle([seconds(dense) for _ in range(plan.turns(9))])
    taken: dict[str, list[float]] = {"sleep": [], "wake": [], "exchange": []}
    for _ in range(plan.turns(5) + 1):
        ours()
        taken["sleep"].append(seconds(lambda: ours.engine.fire(SLEEP)) / step)
        ours()
        taken["exchange"].append(seconds(lambda: ours.engine.fire(DROP, GROW)) / step)
        taken["wake"].append(seconds(lambda: ours.engine.fire(WAKE)) / step)
    sleep, wake, exchange = (middle(taken[k][1:]) for k in ("sleep", "wake", "exchange"))
    pairs = [
        (module, "weight")
        for name, module in dense.model.named_modules()
        if f"{name}.weight" in weights(dense.model)
    ]
    theirs = seconds(lambda: prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.9))
    note = f"dense step {1e3 * step:.1f} ms"
    yield Figure(
        3, f"sleep 90 %, {model}, AdamW, in dense steps", sleep, "steps", None, bars[0], bars[1],
        peers={"prune, masks alone": theirs / step}, note=note,
    )  # fmt: skip
    yield Figure(3, f"wake all, {model}", wake, "steps", None, bars[2], bars[3])
    yield Figure(3, f"drop 30 % and regrow, {model}", exchange, "steps")


def _one_tensor(plan: Plan) -> Iterator[Figure]:
    size = 4_000_000 if plan.quick else 25_000_000
    w = torch.randn(size)
    keep = torch.rand(size) < 0.1
    asleep, kept = pack(~keep), w.clone()
    rmw = best(lambda: kept.mul_(1.0))
    parked = Parked(w.shape, w.dtype, dense=True)
    sleeps, wakes = [], []
    for _ in range(plan.turns(7)):
        sleeps.append(seconds(lambda: parked.park_and_clear_(w, asleep)))
        wakes.append(seconds(lambda: parked.restore_(w, asleep, target_is_zero=True)))
    where = best(lambda: torch.where(keep, w, kept, out=w))
    yield Figure(
        3, f"wake of one tensor, {size // 10**6} M, over one read and write", middle(wakes) / rmw,
        "x", None, 4, 1.7, peers={"torch.where": where / rmw},
    )  # fmt: skip
    yield Figure(3, "sleep of one tensor, the same", middle(sleeps[1:]) / rmw, "x")


def _many_tensors(plan: Plan) -> Iterator[Figure]:
    """How the event grows with the number of tensors: twice as many, twice the time."""
    taken = []
    for count in (100, 400):
        model = nn.Sequential(*[nn.Linear(16, 16) for _ in range(count)])
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
        engine = se.SleepEngine(model, optimizer, undo=False).attach()
        model(torch.randn(4, 16)).sum().backward()
        optimizer.step()
        one = [seconds(lambda e=engine: (e.fire(SLEEP), e.fire(WAKE))) for _ in range(4)]
        taken.append(min(one) / count)
    yield Figure(
        3, "sleep and wake of 400 small tensors: time per tensor over that of 100",
        taken[1] / taken[0], "x", None, 1.3, 1.1, note=f"{1e6 * taken[1]:.0f} us per tensor",
    )  # fmt: skip
