"""Masks of every layer, one picture each: what is awake and frozen, or what several tasks keep."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.mask_files import load_masks
from sleepengine.report.mask_pictures import (
    MOST_WEIGHTS,
    Picture,
    awake_of,
    shrink,
    told_files,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.series import thin_out
from sleepengine.report.words import arm_name, plain, share

MOST_LAYERS = 8
_NO_TASK = ("network", "all")


def legend(run: RunData) -> str:
    """How the pictures are read."""
    if _tasks(run):
        names = ", ".join(_tasks(run))
        return (
            f"Rows are outputs, columns inputs. Colour marks weights that the mask of one task "
            f"keeps ({names}), orange those that several keep, grey the others."
        )
    return (
        "Rows are outputs, columns inputs. Colour marks weights that are awake, orange those that "
        "are frozen, grey those asleep."
    )


def matrices(run: RunData) -> tuple[Picture, ...]:
    """A picture per layer in scope of the network told of; none where all is awake and free."""
    files = told_files(run)
    if not files:
        return ()
    if _tasks(run):
        return _overlaps(run)
    store = load_masks(files[-1].path)
    names = _names(run, store)
    if not any(store.asleep_count(name) or store.frozen_count(name) for name in names):
        return ()
    return tuple(matrix(store, name) for name in thin_out(names, MOST_LAYERS))


def _names(run: RunData, store: MaskStore) -> list[str]:
    scope = {name for point in run.curves[-1:] for name in point.layers}
    fit = (n for n in store.names() if len(store.shape(n)) >= 2 and store.numel(n) <= MOST_WEIGHTS)
    return [name for name in fit if name in scope or not scope]


def _tasks(run: RunData) -> dict[str, MaskStore]:
    """Task -> its mask, of the first seed of an experiment that learns a mask for each."""
    if run.meta.experiment != "mask_training" or not run.masks:
        return {}
    seed = min(file.seed for file in run.masks)
    return {
        arm_name(file.arm): load_masks(file.path)
        for file in run.masks
        if file.seed == seed and file.arm not in _NO_TASK
    }


def _overlaps(run: RunData) -> tuple[Picture, ...]:
    stores = _tasks(run)
    names = _names(run, next(iter(stores.values())))
    return tuple(_overlap(stores, name) for name in thin_out(names, MOST_LAYERS))


def _overlap(stores: dict[str, MaskStore], name: str) -> Picture:
    kept = torch.stack([awake_of(store, name) for store in stores.values()]).sum(0)
    alone, several = (kept > 0).double().mean().item(), (kept > 1).double().mean().item()
    size = " × ".join(map(str, kept.shape[:2]))
    words = f"{plain(name)}, {size}: {share(alone)} kept, {share(several)} by several"
    return Picture(shrink(_flat(kept > 0)), words, f"Masks of {words}.", shrink(_flat(kept > 1)))


def matrix(store: MaskStore, name: str) -> Picture:
    """Rows are outputs and columns inputs; of a kernel the share is shown."""
    awake = awake_of(store, name)
    kept = awake.double().mean().item()
    frozen = store.frozen(name)
    rows, columns = awake.shape[:2]
    words = f"{plain(name)}, {rows} × {columns}: {share(kept)} awake"
    held = 0.0 if frozen is None else frozen.double().mean().item()
    if held:
        words += f", {share(held)} frozen"
    marked = None if frozen is None or not held else shrink(_flat(frozen.cpu() & awake))
    return Picture(shrink(_flat(awake)), words, f"Mask of {words}.", marked)


def _flat(mask: Tensor) -> Tensor:
    values = mask.float()
    return values if values.dim() == 2 else values.flatten(2).mean(2)
