"""Table 7: how each cost grows with the number of weights, in passes over memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

import sleepengine as se
from benchmarks.speed.measuring import Figure, Plan, best
from benchmarks.speed.selecting import choose
from sleepengine.enforcement.bit_masks import AndMask, Expander, and_
from sleepengine.masks.bits import pack
from sleepengine.masks.parked import Parked

MODULES = 16


def measure(plan: Plan) -> Iterator[Figure]:
    sizes = (1, 11) if plan.quick else (1, 11, 25, 100, 200)
    table: dict[tuple[str, int], float] = {}
    for size in sizes:
        side = round((size * 10**6 / MODULES) ** 0.5 / 4) * 4
        torch.manual_seed(0)
        tensors = [torch.randn(side, side) for _ in range(MODULES)]
        total = side * side * MODULES
        pass_ = best(lambda t=tensors: [x.mul_(1.0) for x in t])
        for name, act, peers in _acts(tensors):
            taken = best(act)
            table[name, size] = taken / total
            figure = Figure(
                7, f"{name}, {size} M", taken / pass_, "passes", peers={
                    n: best(a, 3) / pass_ for n, a in peers.items() if size == 25
                }, note=f"{1e9 * taken / total:.2f} ns per weight",
            )  # fmt: skip
            if name.startswith("gradient") and size == max(s for s in sizes if s <= 25):
                figure = replace(figure, good=2.7, near=1.3)
            yield figure
        del tensors
    for name in dict.fromkeys(name for name, _ in table):
        first, last = (11, 200) if 200 in sizes else (1, 11)
        first = 25 if 25 in sizes else first
        ratio = table[name, last] / table[name, first]
        yield Figure(
            7, f"{name}: time per weight, {last} M over {first} M", ratio, "x", None, 1.3, 1.05
        )


def _acts(
    tensors: list[Tensor],
) -> Iterator[tuple[str, Callable[[], object], dict[str, Callable[[], object]]]]:
    expander = Expander()
    keep = [torch.rand(t.shape) < 0.1 for t in tensors]
    masks = [AndMask(pack(k), t, expander) for k, t in zip(keep, tensors, strict=True)]
    pairs = list(zip(tensors, keep, strict=True))
    yield (
        "gradient mask, 90 % asleep",
        lambda: [and_(t, m) for t, m in zip(tensors, masks, strict=True)],
        {
            "mul_(bool)": lambda: [t.mul_(k) for t, k in pairs],
            "masked_fill_": lambda: [t.masked_fill_(k, 0.0) for t, k in pairs],
        },
    )
    bits = [pack(~k) for k in keep]
    parked = [Parked(t.shape, t.dtype, dense=True) for t in tensors]

    def both() -> None:
        for t, b, p in zip(tensors, bits, parked, strict=True):
            p.park_and_clear_(t, b)
        for t, b, p in zip(tensors, bits, parked, strict=True):
            p.restore_(t, b, target_is_zero=True)

    yield "park and restore values", both, {}
    for t in tensors:
        t.abs_()
    values = {f"{k}": t for k, t in enumerate(tensors)}
    yield "choose 90 %, global", lambda: choose(values, se.Global(), se.to(0.9)), {}
