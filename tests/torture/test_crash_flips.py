"""Flipped bits and cut ends of checkpoints and mask files: each of them is detected."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.learned.mask_files import load_masks, save_masks
from sleepengine.masks.mask_sets import MaskSets
from sleepengine.pipeline.resuming import resume

from .crash_runs import CONFIGS, blobs
from .scale import scaled

SHARDS = 4


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint in the middle of a run, masks of a network, and named masks."""
    from sleepengine.pipeline.experiments.runner import Options
    from sleepengine.pipeline.running import run

    folder = tmp_path_factory.mktemp("files") / "run"

    def breaks(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if container.inspect(folder / "checkpoint.run").state["current"] is not None:
            raise ArithmeticError
        return torch.nn.functional.cross_entropy(output, target)

    options = Options(progress=False, save_seconds=0.0)
    config = CONFIGS["short"].replace("name: short", "seeds: [0, 1]")
    with pytest.raises(ArithmeticError):
        run(config, out=folder, data=blobs(), loss_fn=breaks, options=options)
    state = container.read(folder / "checkpoint.run", kind="run")
    masks = folder / "masks" / "train-s0-l0.masks"
    container.write(masks, state["current"]["network"]["engine"]["masks"], kind="masks")
    sets = MaskSets()
    for name in ("a", "b"):
        sets[name] = {"w": torch.rand(40, 9) > 0.5, "v": torch.rand(7) > 0.2}
    save_masks(folder / "tasks.masks", sets)
    return {"run": folder / "checkpoint.run", "masks": masks, "mask sets": folder / "tasks.masks"}


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("kind", ["run", "masks", "mask sets"])
def test_every_flip_and_every_cut_is_detected(
    kind: str,
    shard: int,
    files: dict[str, Path],
    tmp_path: Path,
    figures: Callable[..., None],
) -> None:
    chance = random.Random(f"{kind}/{shard}")
    good = files[kind].read_bytes()
    path = tmp_path / "bad"
    read = load_masks if kind == "mask sets" else partial(container.read, kind=kind)
    count = scaled(60, 10_000) // SHARDS
    for number in range(count):
        bad = bytearray(good)
        if number % 4 == 3:
            del bad[chance.randrange(len(good)) :]
        else:
            bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(FileError, match=r"bad: "):
            read(path)
    figures(detected=count)


def test_a_damaged_checkpoint_is_never_gone_on_from(files: dict[str, Path]) -> None:
    """Nothing in the folder changes, and the good checkpoint can be put back."""
    folder, good = files["run"].parent, files["run"].read_bytes()
    chance = random.Random(1)
    files["masks"].rename(folder.parent / "aside")
    others = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p != files["run"]}
    for _ in range(scaled(3, 100)):
        bad = bytearray(good)
        bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        files["run"].write_bytes(bad)
        with pytest.raises(FileError, match=r"checkpoint\.run: "):
            resume(folder, data=blobs(), progress=False)
        assert {p: p.read_bytes() for p in others} == others
    files["run"].write_bytes(good)
    assert resume(folder, data=blobs(), progress=False).status == "finished"
