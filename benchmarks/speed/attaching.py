"""Table 6: an engine that has nothing to do, under Ignite and alone; imports; the command line."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator

import torch
from ignite.engine import Engine
from torch import nn

import sleepengine as se
from benchmarks.speed.measuring import Figure, Plan, seconds

RULE = se.Rule(
    se.every("1000000it"), se.Who(se.Magnitude(), amount=se.to(0.5)), se.Sleep(), name="idle"
)


class _Tiny:
    """A step that costs next to nothing: one weight, plain SGD."""

    def __init__(self, tensors: int = 1) -> None:
        self.model = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(tensors)])
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.0)
        self.x = torch.randn(2, 8)

    def __call__(self, *_: object) -> None:
        self.optimizer.zero_grad()
        self.model(self.x).sum().backward()
        self.optimizer.step()


def _loop(tiny: _Tiny, times: int) -> float:
    return seconds(tiny, times)


def _ignite(trainer: Engine, times: int) -> float:
    trainer.state.max_epochs = None
    return seconds(lambda: trainer.run(range(times), max_epochs=1)) / times


def _difference(ours: object, base: object, run: object, turns: int, times: int) -> float:
    """Microseconds per iteration above the base, the median of paired turns."""
    run(base, times), run(ours, times)  # type: ignore[operator]
    found = []
    for _ in range(turns):
        before = run(base, times)  # type: ignore[operator]
        with_us = run(ours, times)  # type: ignore[operator]
        found.append(with_us - (before + run(base, times)) / 2)  # type: ignore[operator]
    return 1e6 * statistics.median(found)


def measure(plan: Plan) -> Iterator[Figure]:
    turns, times = plan.turns(15), 1000
    three = Engine(lambda *_: None)
    from ignite.engine import Events

    for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED):
        three.add_event_handler(event, lambda _: None)
    empty = 1e6 * statistics.median(_ignite(three, times) for _ in range(turns))

    ours, base = _Tiny(), Engine(_Tiny())
    engine = se.SleepEngine(ours.model, ours.optimizer, [RULE], undo=False, check_every=0)
    trainer = Engine(ours)
    with engine.attach(trainer):
        cost = _difference(trainer, base, _ignite, turns, times)
    yield Figure(
        6, "attached engine, idle, per Ignite iteration", cost, "us", None, 9, 5,
        peers={"Ignite itself, 3 empty handlers": empty},
    )  # fmt: skip

    ours = _Tiny()
    with se.SleepEngine(ours.model, ours.optimizer, [RULE], undo=False, check_every=0).attach():
        cost = _difference(ours, _Tiny(), _loop, turns, times)
    yield Figure(6, "attached engine, idle, per step of a plain loop", cost, "us", None, 9, 5)

    tensors = 40
    ours, idle = _Tiny(tensors), _Tiny(tensors)
    idle_engine = se.SleepEngine(
        idle.model, idle.optimizer, [RULE], undo=False, check_every=0
    ).attach()
    engine = se.SleepEngine(ours.model, ours.optimizer, [RULE], undo=False, check_every=0).attach()
    ours()
    for name in engine.scope:
        engine.sleep_weights(name, torch.rand(8, 8) < 0.5)
    cost = _difference(ours, idle, _loop, turns, 100) / tensors
    yield Figure(6, "masked tensor of 64 weights, per step", cost, "us", None, 2.5, 1.2)
    engine.detach(), idle_engine.detach()
    yield from _starts(plan)


def _cpu(command: list[str], times: int) -> float:
    """Milliseconds of processor time of a fresh process, the least of some."""
    found = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1e3 * min(found)


def _starts(plan: Plan) -> Iterator[Figure]:
    times = plan.turns(6)
    python = [sys.executable, "-c"]
    torch_alone = _cpu([*python, "import torch, torch.optim, ignite.engine"], times)
    ours = _cpu([*python, "import torch, torch.optim, ignite.engine, sleepengine"], times)
    yield Figure(
        6, "import sleepengine, beside torch and ignite", ours - torch_alone, "ms",
        peers={"torch and ignite": torch_alone},
    )  # fmt: skip
    command = [sys.executable, "-m", "sleepengine"]
    for what in (["--help"], ["list"]):
        told = " ".join(["sleepengine", *what])
        try:
            taken = _cpu([*command, *what], times)
        except subprocess.CalledProcessError:
            continue
        yield Figure(6, f"start of `{told}`", taken, "ms", peers={"import torch": torch_alone})
