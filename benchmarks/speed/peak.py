"""Print the peak of memory of one way to choose, in bytes per weight, in a process of its own."""

from __future__ import annotations

import json
import sys

import torch
from torch.nn.utils import prune

import sleepengine as se
from benchmarks.speed.measuring import peak, reset_peak
from benchmarks.speed.selecting import choose, layers, scores


def main(what: str) -> None:
    torch.set_num_threads(1)
    small, values = scores(5_000_000), scores(25_000_000)
    total = sum(v.numel() for v in values.values())
    choose(small, se.Global(), se.to(0.9))
    made = layers(values) if what == "prune" else []
    pairs = [(layer, "weight") for layer in made]
    before = reset_peak()
    if what == "scores":
        kept = choose(values, se.Global(), se.to(0.9))
    elif what == "weights":
        scored = se.Magnitude().score(se.Signals(weights=values))
        kept = choose(scored, se.Global(), se.to(0.9))
    else:
        kept = prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.9)
    del kept
    print(json.dumps({"bytes": (peak() - before) / total}))


if __name__ == "__main__":
    main(sys.argv[1])
