"""kill -9 at random moments: every run ends like one that nobody killed, bit for bit."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sleepengine.files import atomic
from sleepengine.firing.whole_firing import WholeFiring
from sleepengine.pipeline.experiments.runner import Runner
from sleepengine.pipeline.run_folder import RunFolder
from sleepengine.pipeline.training.network import Network
from sleepengine.pipeline.training.train import Training

from .crash_runs import (
    Case,
    child,
    content,
    ended,
    finish,
    fresh,
    processor_time,
    scratch,
    undisturbed,
)
from .scale import scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

CASES = {
    "train": Case("train"),
    "lottery": Case("lottery"),
    "rarely saved": Case("train", save_seconds=0.01),
}
PHASES = ("preparing", "training", "event", "save")
SHARDS = 4


class Phases:
    """What the child is doing, told through shared memory."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2)

    def now(self) -> str:
        return PHASES[self._memory[0]]

    def has_begun(self) -> bool:
        """Whether the child has come to train."""
        return bool(self._memory[1])

    def begin(self) -> None:
        """In the child: mark the functions."""
        self._mark(Runner, "_train", "training")
        self._mark(Training, "_step", "training")
        self._mark(WholeFiring, "fire", "event")
        self._mark(RunFolder, "save_checkpoint", "save")
        self._mark(atomic, "write", "save")

    def reset(self) -> None:
        self._memory[:] = bytes(2)

    def _mark(self, owner: Any, name: str, phase: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)
        memory, number = self._memory, PHASES.index(phase)

        def marked(*args: Any, **given: Any) -> Any:
            before, memory[0] = memory[0], number
            memory[1] |= phase == "training"
            try:
                return inner(*args, **given)
            finally:
                memory[0] = before

        setattr(owner, name, marked)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = scratch(tmp_path_factory.mktemp("runs"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(memory: Path) -> dict[str, tuple[dict[str, Any], float]]:
    """Name -> what the run leaves undisturbed, and its time."""
    return {name: undisturbed(case, memory / f"whole {name}") for name, case in CASES.items()}


def killed(case: Case, place: Path, chance: random.Random, took: float) -> Counter[str]:
    """Kill the run again and again until a child reaches the end; kills by what was going on."""
    kills: Counter[str] = Counter()
    phases = Phases()

    def work() -> None:
        phases.begin()
        case.carry_out(place)

    while True:
        phases.reset()
        # Longer and longer, lest a run never gets from one checkpoint to the next.
        left = chance.uniform(0.0, 0.5 * took * 1.2 ** max(0, kills.total() - 20))
        early = chance.random() < 0.1
        pid, began = child(work, place / "errors"), 0.0
        while (status := ended(pid)) is None:
            if began == 0.0 and (early or phases.has_begun()):
                began = processor_time(pid)
            if began and processor_time(pid) - began > left:
                break
            time.sleep(0.0003)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
            if os.WIFSIGNALED(status):
                kills[phases.now()] += 1
                continue
        assert status == 0, (place / "errors").read_text()
        return kills


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_runs_end_like_undisturbed_ones(
    shard: int,
    memory: Path,
    whole: dict[str, tuple[dict[str, Any], float]],
    figures: Callable[..., None],
) -> None:
    wanted = scaled(12, 1000) // SHARDS
    chance = random.Random(shard)
    kills: Counter[str] = Counter()
    runs, began = 0, time.perf_counter()
    while kills.total() < wanted:
        name = chance.choice(list(CASES))
        expected, took = whole[name]
        place = fresh(memory / f"killed {shard}")
        kills += killed(CASES[name], place, chance, took)
        assert content(place) == expected, f"{name}, run {runs} of shard {shard}"
        runs += 1
    minutes = (time.perf_counter() - began) / 60
    figures(kills=kills.total(), runs=runs, **{phase: kills[phase] for phase in PHASES},
            per_minute=round(kills.total() / minutes))  # fmt: skip


def test_an_undisturbed_run_is_the_same_every_time(
    memory: Path, whole: dict[str, tuple[dict[str, Any], float]]
) -> None:
    place = fresh(memory / "again")
    finish(CASES["rarely saved"], place)
    assert content(place) == whole["rarely saved"][0] == whole["train"][0]


@pytest.mark.parametrize(
    "left_out", ["torch", "python", "numpy", "scheduler", "optimizer", "parked"]
)
def test_a_state_that_is_left_out_would_be_noticed(
    left_out: str, memory: Path, whole: dict[str, tuple[dict[str, Any], float]]
) -> None:
    """The comparison can fail: a checkpoint without one part ends in another place."""
    inner = Network.load_state_dict

    def without(network: Network, state: Any) -> None:
        mine = network.state_dict()
        state = {**state}
        if left_out in ("torch", "python", "numpy"):
            state["random"] = {**state["random"], left_out: mine["random"][left_out]}
        elif left_out == "parked":
            parked = {
                name: {**entry, "values": entry["values"] + 1.0}
                for name, entry in state["engine"]["parked"].items()
            }
            state["engine"] = {**state["engine"], "parked": parked}
        else:
            state[left_out] = mine[left_out]
        inner(network, state)

    place = fresh(memory / "without")

    def work() -> None:
        case = CASES["train"]
        step, count = Training._step, [0]

        def dies(training: Any, *args: Any) -> Any:
            count[0] += 1
            if count[0] == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(training, *args)

        Training._step = dies  # type: ignore[method-assign]
        case.carry_out(place)

    os.waitpid(child(work, place / "errors"), 0)

    def go_on() -> None:
        Network.load_state_dict = without  # type: ignore[method-assign]
        CASES["train"].carry_out(place)

    status = os.waitpid(child(go_on, place / "errors"), 0)[1]
    assert status == 0, (place / "errors").read_text()
    assert content(place) != whole["train"][0]
