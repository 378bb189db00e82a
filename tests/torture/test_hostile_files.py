"""Forged checkpoints and mask files: one exception with a place, and nothing half loaded."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sleepengine.errors import FileError, SleepError, StateError
from sleepengine.files import container
from sleepengine.learned.mask_files import load_masks, save_masks
from sleepengine.masks.choice import Choice
from sleepengine.masks.mask_sets import MaskSets
from sleepengine.masks.store import MaskStore
from sleepengine.pipeline import checkpoint
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.parts import Given, Parts
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.running import run
from sleepengine.pipeline.training import network_checks
from sleepengine.pipeline.training.network import Network, make
from sleepengine.report.mask_pictures import load_masks as load_store

from .crash_runs import CONFIGS, blobs, digest
from .hostile_states import forged, mutated
from .scale import scaled

SHARDS = 4
RICH = CONFIGS["train"].replace("seeds: [0, 1]", "engine: {keep: [3it]}")


class Stop(Exception):  # noqa: N818
    """The run is cut off here."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with sleepers, frozen weights, kept points and a journal, cut off in the middle."""
    place = tmp_path_factory.mktemp("hostile") / "run"
    left = [18]

    def stops(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        left[0] -= output.requires_grad
        if left[0] == 0:
            raise Stop
        return torch.nn.functional.cross_entropy(output, target)

    with pytest.raises(Stop):
        run(RICH, out=place, data=blobs(), loss_fn=stops, options=Options(False, 0.0))
    return place


@pytest.fixture(scope="module")
def saved(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = container.read(folder / "checkpoint.run", kind="run")
    return state


@pytest.fixture
def network() -> Network:
    return make(Parts.of(load(RICH), None, Given(data=blobs())), 0)


def as_loaded(network: Network) -> str:
    return digest({**network.state_dict(), "rng": torch.get_rng_state()})


def test_the_state_is_rich(saved: dict[str, Any]) -> None:
    engine = saved["current"]["network"]["engine"]
    assert engine["parked"]
    assert engine["frozen"]["frozen_values"]
    assert set(engine["kept_points"]) >= {"3it"}
    assert engine["journal"]["records"]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_forged_network_is_loaded_whole_or_not_at_all(
    shard: int, saved: dict[str, Any], network: Network, figures: Callable[..., None]
) -> None:
    """Fields are mutated one and all; a state that is taken must leave a sound engine."""
    good, chance = saved["current"]["network"], random.Random(shard)
    network.load_state_dict(good)
    before, refused = as_loaded(network), 0
    for number in range(scaled(120, 5_000) // SHARDS):
        bad = mutated(good, chance)
        try:
            network.load_state_dict(bad)
        except StateError:
            refused += 1
            assert as_loaded(network) == before, f"mutation {number} of shard {shard}"
        else:
            network.engine.check()
            network_checks.zeros(network.model.state_dict(), network.engine.store)
            network.load_state_dict(good)
            assert as_loaded(network) == before, f"mutation {number} of shard {shard}"
    assert refused
    figures(states=number + 1, refused=refused)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_forged_engine_is_loaded_whole_or_not_at_all(
    shard: int, saved: dict[str, Any], network: Network
) -> None:
    """Through the engine's own door, which knows no file."""
    good, chance = saved["current"]["network"], random.Random(f"engine {shard}")
    network.load_state_dict(good)
    before = as_loaded(network)
    for number in range(scaled(120, 5_000) // SHARDS):
        bad = mutated(good["engine"], chance)
        try:
            network.engine.load_state_dict(bad)
        except StateError:
            assert as_loaded(network) == before, f"mutation {number} of shard {shard}"
        else:
            network.engine.check()
            network.load_state_dict(good)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_forged_checkpoint_file_names_itself(
    shard: int, saved: dict[str, Any], folder: Path, network: Network, tmp_path: Path
) -> None:
    chance, path = random.Random(f"file {shard}"), tmp_path / "checkpoint.run"
    raw = (folder / "checkpoint.run").read_bytes()
    for number in range(scaled(120, 5_000) // SHARDS):
        if number % 2:
            path.write_bytes(forged(raw, chance))
        else:
            container.write(path, mutated(saved, chance), kind="run")
        try:
            state = checkpoint.check(container.read(path, kind="run"), path)
            checkpoint.check_fits(state, network, path)
        except FileError as fault:
            assert str(fault).startswith(f"{path}: "), fault  # noqa: PT017


def test_resuming_from_a_forged_checkpoint_writes_nothing(
    saved: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    chance, refused = random.Random(3), 0
    for _ in range(scaled(8, 200)):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "run")
        path = tmp_path / "run" / "checkpoint.run"
        container.write(path, mutated(saved, chance), kind="run")
        before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
        try:
            resume(tmp_path / "run", data=blobs(), progress=False)
        except FileError:
            refused += 1
            after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
            assert after == before
        except SleepError:
            pass  # numbers and masks that a sound state could hold, and that lead nowhere
    assert refused


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("kind", ["masks", "mask sets"])
def test_forged_masks_are_refused_by_place(kind: str, shard: int, tmp_path: Path) -> None:
    chance, path = random.Random(f"{kind} {shard}"), tmp_path / "bad.masks"
    awake = {"fc1.weight": torch.rand(9, 5) > 0.5, "fc2.weight": torch.rand(3, 9) > 0.2}
    if kind == "masks":
        store = MaskStore({name: mask.shape for name, mask in awake.items()})
        store.sleep(Choice({name: ~mask for name, mask in awake.items()}))
        store.snapshot("then")
        container.write(path, store.state_dict(), kind=kind)
    else:
        sets = MaskSets()
        sets["a"], sets["b"] = awake, {name: ~mask for name, mask in awake.items()}
        save_masks(path, sets)
    raw, state = path.read_bytes(), container.read(path, kind=kind)
    read = load_store if kind == "masks" else load_masks
    for number in range(scaled(80, 5_000) // SHARDS):
        if number % 2:
            path.write_bytes(forged(raw, chance))
        else:
            container.write(path, mutated(state, chance), kind=kind)
        try:
            read(path)
        except FileError as fault:
            assert str(fault).startswith(f"{path}: "), fault  # noqa: PT017


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: n["model"].pop("fc1.weight"), "missing .'fc1.weight'"),
        (lambda n: n["model"]["fc1.weight"].fill_(1.0), "asleep by the masks and not zero"),
        (lambda n: n["model"]["fc1.weight"].fill_(-0.0), "asleep by the masks and not zero"),
        (lambda n: n["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)), "has shape .3."),
        (lambda n: n["random"]["numpy"].update(place=10**9), "not among the 624 words"),
        (lambda n: n["scheduler"].update(step=0), "unknown 'step'"),
        (lambda n: n.update(start=-1), "begins at step -1"),
    ],
)
def test_what_does_not_fit_is_named(
    change: Any, words: str, saved: dict[str, Any], network: Network
) -> None:
    bad = copy.deepcopy(saved["current"]["network"])
    change(bad)
    with pytest.raises(StateError, match=words):
        network.load_state_dict(bad)
