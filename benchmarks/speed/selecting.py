"""Table 2: choosing which weights sleep."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import prune

import sleepengine as se
from benchmarks.speed.measuring import Figure, Plan, best, fresh, seconds

MODULES = 16


def scores(size: int) -> dict[str, torch.Tensor]:
    """Magnitudes of about so many weights, in 16 matrices."""
    torch.manual_seed(0)
    side = round((size / MODULES) ** 0.5 / 4) * 4
    return {f"{k}.weight": torch.randn(side, side).abs_() for k in range(MODULES)}


def choose(values: dict[str, torch.Tensor], pools: se.Pools, amount: object) -> object:
    """As a rule does."""
    return se.choose(values, pools, amount, asleep={}, eligible={})  # type: ignore[arg-type]


def layers(values: dict[str, torch.Tensor]) -> list[nn.Linear]:
    """The same numbers as weights of layers."""
    made = []
    for value in values.values():
        layer = nn.Linear(*value.shape, bias=False)
        layer.weight.data = value
        made.append(layer)
    return made


def prune_all(values: dict[str, torch.Tensor]) -> float:
    """Seconds of torch.nn.utils.prune.global_unstructured."""
    pairs = [(layer, "weight") for layer in layers(values)]
    return seconds(lambda: prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.9))


def prune_each(values: dict[str, torch.Tensor]) -> float:
    """Seconds of torch.nn.utils.prune.l1_unstructured on every tensor."""
    made = layers(values)
    return seconds(lambda: [prune.l1_unstructured(layer, "weight", 0.9) for layer in made])


def topk_all(values: dict[str, torch.Tensor]) -> float:
    """Seconds of torch.topk over all scores, and the masks."""

    def act() -> None:
        flat = torch.cat([v.view(-1) for v in values.values()])
        mask = torch.zeros(flat.numel(), dtype=torch.bool)
        mask[flat.topk(round(0.9 * len(flat)), largest=False).indices] = True

    return seconds(act)


def measure(plan: Plan) -> Iterator[Figure]:
    for size in (1, 11) if plan.quick else (1, 11, 25, 100):
        values = scores(size * 10**6)
        ours = best(lambda v=values: choose(v, se.Global(), se.to(0.9)))
        read = best(lambda v=values: [t.sum() for t in v.values()])
        peers = {"topk": topk_all(values) / ours}
        if size < 100:
            peers["prune"] = prune_all(values) / ours
        main = size == 25
        yield Figure(
            2, f"global threshold, {size} M, over one read", ours / read, "x",
            good=20 if main else None, near=9 if main else None, note=f"{1e3 * ours:.1f} ms",
        )  # fmt: skip
        if "prune" in peers:
            yield Figure(
                2, f"global_unstructured over ours, {size} M", peers["prune"], "x", at_least=True,
                good=80 if main else None, near=150 if main else None,
                peers={"topk over ours": peers["topk"]},
            )  # fmt: skip
        if main:
            each = best(lambda v=values: choose(v, se.PerTensor(), se.to(0.9)))
            yield Figure(
                2, "per tensor, 25 M, over one read", each / read, "x",
                peers={"prune": prune_each(values) / read},
            )  # fmt: skip
        del values
    yield from _two_of_four(4096 if not plan.quick else 2048)
    for who in ("scores", "weights", "prune"):
        found = fresh("benchmarks.speed.peak", who)
        what = {
            "scores": "peak beside the scores, 25 M, masks included",
            "weights": "peak beside the weights, 25 M, scores and masks included",
            "prune": "peak of global_unstructured, 25 M",
        }[who]
        bars = (5, 1.2) if who == "scores" else (None, None)
        yield Figure(2, what, found["bytes"], "B/weight", None, *bars)


def _two_of_four(side: int) -> Iterator[Figure]:
    from torch.ao.pruning import WeightNormSparsifier

    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(side, side, bias=False))
    values = {"0.weight": layer[0].weight.detach().abs()}
    ours = best(lambda: choose(values, se.NofM(2, 4), None))
    read = best(lambda: values["0.weight"].sum())
    sparsifier = WeightNormSparsifier(
        sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2
    )
    sparsifier.prepare(layer, [{"tensor_fqn": "0.weight"}])
    theirs = seconds(sparsifier.step)
    yield Figure(
        2, f"WeightNormSparsifier over ours, 2:4, {side} x {side}", theirs / ours, "x",
        good=14, near=30, at_least=True, note=f"{ours / read:.1f} x one read",
    )  # fmt: skip
