"""Table 4: bytes per weight, at rest and in use."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.speed.loops import OPTIMIZERS, Engined
from benchmarks.speed.measuring import Figure, Plan

PEERS = {"prune: mask and copy": 8.0, "ao.pruning: mask": 4.0}


def measure(plan: Plan) -> Iterator[Figure]:
    for model in ("mlp300",) if plan.quick else ("mlp300", "mlp4096"):
        for memory in ("fast", "lean"):
            ours = Engined(model, OPTIMIZERS["AdamW"], asleep=0.9, memory=memory)
            ours()
            live, enforcer = ours.engine.live, ours.engine.enforcer
            total = sum(live.params[name].numel() for name in live.store.entries())
            where = f"{model}, {memory}"
            yield Figure(
                4, f"masks at rest, {where}", live.store.nbytes() / total, "B/weight", None,
                1.0, 0.157, peers=PEERS,
            )  # fmt: skip
            both = (live.store.nbytes() + enforcer.nbytes) / total
            yield Figure(
                4, f"masks with what enforcement keeps, {where}", both, "B/weight", None, 1.0, 0.157
            )
            yield Figure(4, f"parked values, {where}", live.parked.nbytes / total, "B/weight")
            yield Figure(
                4, f"parked optimizer state, {where}", live.state.nbytes / total, "B/weight"
            )
