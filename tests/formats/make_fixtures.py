"""Write small files of every kind, as this version writes them.

Once per release, from the root of the repository: python -m tests.formats.make_fixtures. The
folder is called after the version and is never written again. What the files hold is in
`expected.json`, for the test that reads them.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from sleepengine.files import container
from sleepengine.learned.mask_files import save_masks
from sleepengine.masks.mask_sets import MaskSets
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.header import versions
from sleepengine.pipeline.problems.bundle import Data, Scaling, Split
from sleepengine.pipeline.running import run

CONFIG = """
name: old
model: {mlp: {sizes: [4]}}
train:
  length: 6it
  batch_size: 8
  optimizer: {AdamW: {lr: 0.05}}
  lr_schedule: {StepLR: {step_size: 2it}}
  evaluate: 2it
engine: {keep: [1it]}
rules:
  - when: {every: 1it}
    who: {scorer: Magnitude, amount: {to: {linear: [0.2, 0.5]}}}
    what: Sleep
  - when: {every: 2it}
    who: {scorer: Random, amount: {by: 0.2}}
    what: Freeze
  - when: {at: 3it}
    who: {scorer: Random, amount: {by: 0.3}}
    what: {Wake: {value: parked}}
"""
STOP = 4


def points() -> Data:
    """Two classes on a grid, without any draw."""
    x = torch.arange(80, dtype=torch.float32).remainder(7).reshape(20, 4) / 7
    y = torch.arange(20) % 2
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 12), (12, 16), (16, 20))]
    return Data("points", *parts, (4,), 2, Scaling(1.0, 0.0, 1.0))


class _Stop(Exception):  # noqa: N818
    """The run is cut off here."""


def interrupted(folder: Path) -> None:
    """A run that is cut off after STOP steps, each of them saved."""
    left = [STOP]

    def stops(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if output.requires_grad:
            left[0] -= 1
            if left[0] < 0:
                raise _Stop
        return torch.nn.functional.cross_entropy(output, target)

    try:
        run(CONFIG, out=folder, data=points(), loss_fn=stops, options=Options(False, 0.0))
    except _Stop:
        return


def every_value() -> dict[str, Any]:
    """All that a container may hold."""
    return {
        "plain": [None, True, -3, 2**70, 0.1, float("inf"), "ä", b"\x00\xff", (1, [2])],
        3: {"nested": {}},
        "float32": torch.tensor([[1.5, -0.0], [float("inf"), 2.0]]),
        "bool": torch.tensor([True, False, True]),
        "bfloat16": torch.tensor([0.5, 3.0], dtype=torch.bfloat16),
        "complex64": torch.tensor([1 + 2j]),
        "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
        "empty": torch.empty(0, 3),
    }


def mask_sets() -> MaskSets:
    """Two masks of two parameters."""
    sets = MaskSets()
    sets["a"] = {"w": torch.arange(20).reshape(4, 5) % 3 > 0, "v": torch.arange(9) % 2 > 0}
    sets["b"] = {"w": torch.arange(20).reshape(4, 5) % 4 > 0, "v": torch.arange(9) % 2 > 0}
    return sets


def main() -> None:
    """Write the folder of this version.

    Raises:
        SystemExit: it is there already.
    """
    version = versions()["sleepengine"]
    folder = Path(__file__).parent / version
    if folder.exists():
        sys.exit(f"{folder} is there already: files of a released version are never changed")
    run(CONFIG, out=folder / "finished", data=points(), progress=False)
    interrupted(folder / "interrupted")
    container.write(folder / "every_value.sleep", every_value(), kind="test")
    save_masks(folder / "tasks.masks", mask_sets())
    end = json.loads((folder / "finished" / "results.jsonl").read_text())
    state = container.read(folder / "interrupted" / "checkpoint.run", kind="run")
    masks = state["current"]["network"]["engine"]["masks"]["masks"]["asleep"]["weights"]
    expected = {
        "container": container.FORMAT,
        "awake_count": end["awake_count"],
        "asleep_at_stop": {name: entry["count"] for name, entry in masks.items()},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    for path in folder.rglob("__pycache__"):
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
