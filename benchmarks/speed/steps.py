"""Table 1: what enforcement costs per training step."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import torch
from torch import nn

import sleepengine as se
from benchmarks.speed.loops import OPTIMIZERS, Engined, Loop, Parametrized, TorchPruned
from benchmarks.speed.measuring import Figure, Plan, middle, paired, percent, quartiles

BARS = {
    "mlp300": {"SGDm": (6, 3.5), "AdamW": (6, 3.5), "AdamW fused": (6, 3.5)},
    "mlp4096": {"SGDm": (7, 4), "AdamW": (8, 3), "AdamW fused": (7, 3)},
    "resnet18": {"SGDm": (3, None), "AdamW": (3, None)},
    "gpt": {"SGDm": (3, None), "AdamW": (3, None)},
}
TURNS = {"mlp300": 24, "mlp4096": 9, "resnet18": 6, "gpt": 6}


def measure(plan: Plan) -> Iterator[Figure]:
    for model, bars in BARS.items():
        if plan.quick and model in ("resnet18", "gpt"):
            continue
        for optimizer, bar in bars.items():
            if plan.quick and model == "mlp4096" and optimizer != "AdamW":
                continue
            yield from _steps(plan, model, optimizer, bar)
            gc.collect()
    yield from _sparsity(plan)
    yield from _optimizer_step(plan)
    yield from _after_waking(plan)


def _steps(
    plan: Plan, model: str, optimizer: str, bar: tuple[float, float | None]
) -> Iterator[Figure]:
    make = OPTIMIZERS[optimizer]
    others: dict[str, Loop] = {
        "dense again": Loop(model, make),
        "ours": Engined(model, make, asleep=0.9),
        "prune": TorchPruned(model, make, 0.9),
    }
    if model.startswith("mlp"):
        others["ao.pruning"] = Parametrized(model, make, 0.9)
        others["idle"] = Engined(model, make)
        others["frozen"] = Engined(model, make, frozen=0.9)
    base, ratios = paired(Loop(model, make), others, plan.turns(TURNS[model]))
    over = {name: percent(values) for name, values in ratios.items()}
    peers = {n: over[n][0] for n in ("prune", "ao.pruning", "dense again") if n in over}
    where, note = f"{model}, {optimizer}", f"dense step {1e3 * base:.2f} ms"
    yield Figure(
        1, f"step, {where}, 90 % asleep", *_told(over["ours"]), *bar, peers=peers, note=note
    )
    if "idle" in over:
        yield Figure(1, f"step, {where}, engine idle", *_told(over["idle"]))
        yield Figure(1, f"step, {where}, 90 % frozen", *_told(over["frozen"]))


def _told(over: tuple[float, tuple[float, float]]) -> tuple[float, str, tuple[float, float]]:
    return over[0], "%", over[1]


def _sparsity(plan: Plan) -> Iterator[Figure]:
    make = OPTIMIZERS["AdamW"]
    others = {f"{s}": Engined("mlp4096", make, asleep=s) for s in (0.5, 0.95)}
    _, ratios = paired(Loop("mlp4096", make), others, plan.turns(9))
    half, most = (percent(ratios[s])[0] for s in ("0.5", "0.95"))
    yield Figure(
        1, "step, mlp4096, AdamW: at 50 % over at 95 % asleep", (1 + half / 100) / (1 + most / 100),
        "x", good=1.5, near=1.2, note=f"{half:.1f} % and {most:.1f} % above dense",
    )  # fmt: skip


class _Flat:
    """`optimizer.step()` alone, on one matrix with a gradient that stays."""

    def __init__(self, share: float) -> None:
        torch.manual_seed(0)
        model = nn.Linear(1024, 1024, bias=False)
        self.optimizer = torch.optim.AdamW(model.parameters(), 1e-4, betas=(0.9, 0.95))
        if share:
            self.engine = se.SleepEngine(model, self.optimizer, undo=False, check_every=0).attach()
        grad = torch.randn(1024, 1024)
        model.weight.grad = grad.clone()
        self(), self()
        if share:
            self.engine.sleep_weights("weight", torch.rand(1024, 1024) < share)

    def __call__(self) -> None:
        self.optimizer.step()


def _optimizer_step(plan: Plan) -> Iterator[Figure]:
    dense, ours = _Flat(0), _Flat(0.9)
    for what, steps, bars in (
        ("AdamW.step() alone, 90 % asleep, over dense", 0, (1.10, 1.02)),
        ("the same after 2,000 steps with beta2 = 0.95", 2000, (1.15, 1.02)),
    ):
        for _ in range(steps):
            dense(), ours()
        _, ratios = paired(dense, {"ours": ours}, plan.turns(21))
        yield Figure(
            1, what, middle(ratios["ours"]), "x", quartiles(ratios["ours"]), *bars,
        )  # fmt: skip


def _after_waking(plan: Plan) -> Iterator[Figure]:
    make = OPTIMIZERS["AdamW"]
    ours = Engined("mlp300", make, asleep=0.9)
    for name in ours.engine.scope:
        ours.engine.wake_weights(name)
    over = {"ours": ours, "dense again": Loop("mlp300", make)}
    _, ratios = paired(Loop("mlp300", make), over, plan.turns(24))
    yield Figure(
        1, "step, mlp300, AdamW, after all woke, engine attached", middle(ratios["ours"]), "x",
        quartiles(ratios["ours"]), 1.01, peers={"dense again": middle(ratios["dense again"])},
    )  # fmt: skip
    ours.engine.detach()
    _, ratios = paired(Loop("mlp300", make), over, plan.turns(24))
    yield Figure(
        1, "step, mlp300, AdamW, after all woke, detached", middle(ratios["ours"]), "x",
        quartiles(ratios["ours"]), 1.01, peers={"dense again": middle(ratios["dense again"])},
    )  # fmt: skip
