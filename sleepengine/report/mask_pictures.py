"""Masks as pictures: which weights of the first layer are awake, as grids of shares in 0..1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.masks.store import MaskStore
from sleepengine.pipeline.mask_files import load_masks
from sleepengine.report.records import MaskFile
from sleepengine.report.run_data import RunData
from sleepengine.report.words import arm_name, share

MOST_UNITS = 96
MOST_PIXELS = 160
MOST_WEIGHTS = 2**27


@dataclass(frozen=True)
class Picture:
    """A grid of awake shares, NaN where there is nothing to show, with words for who cannot see.

    `marked` is the share to be painted in another colour: frozen, or began again.
    """

    grid: Tensor
    title: str
    alt: str
    marked: Tensor | None = None


def first_layer(store: MaskStore) -> str | None:
    """Name of the first tensor that is at least 2-D and not too large for a picture."""
    fits = (n for n in store.names() if len(store.shape(n)) >= 2 and store.numel(n) <= MOST_WEIGHTS)
    return next(fits, None)


def awake_of(store: MaskStore, name: str) -> Tensor:
    """Bool tensor, True = awake."""
    awake = store.awake(name)
    return torch.ones(store.shape(name), dtype=torch.bool) if awake is None else awake.cpu()


def unit_images(awake: Tensor, input_shape: Sequence[int] | None) -> Tensor | None:
    """One image (height, width) per output unit, averaged over channels; None when there is none.

    A convolution shows its kernels; a linear layer that reads a flat (channels, height, width)
    input shows each unit's weights where their pixels are.

    >>> unit_images(torch.tensor([[True, False, True, True]]), (1, 2, 2))
    tensor([[[1., 0.],
             [1., 1.]]])
    """
    values = awake.float()
    if awake.dim() == 4:
        return values.mean(1) if awake.shape[2] * awake.shape[3] > 1 else None
    shape = tuple(input_shape or ())
    if awake.dim() != 2 or len(shape) not in (2, 3) or math.prod(shape) != awake.shape[1]:
        return None
    return values.reshape(len(values), -1, *shape[-2:]).mean(1)


def mosaic(images: Tensor, columns: int) -> Tensor:
    """Images (n, height, width) side by side in rows of `columns`, with NaN lines between them.

    >>> mosaic(torch.tensor([[[1.0]], [[0.0]]]), columns=2)
    tensor([[1., nan, 0.]])
    """
    n, height, width = images.shape
    rows = math.ceil(n / columns)
    grid = images.new_full((rows * (height + 1), columns * (width + 1)), math.nan)
    for i, image in enumerate(images):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        grid[top : top + height, left : left + width] = image
    return grid[:-1, :-1]


def shrink(grid: Tensor, most: int = MOST_PIXELS) -> Tensor:
    """A 2-D grid averaged down to at most `most` rows and columns.

    >>> shrink(torch.tensor([[1.0, 0.0, 1.0, 1.0]]), most=2)
    tensor([[0.5000, 1.0000]])
    """
    size = (min(grid.shape[0], most), min(grid.shape[1], most))
    return torch.nn.functional.adaptive_avg_pool2d(grid[None].double(), size)[0].float()


def pictures(run: RunData) -> tuple[Picture, ...]:
    """Pictures of the first arm and seed that has masks: each level at a glance, the last closely.

    Empty when there are no mask files, no layer to draw, or nothing in it sleeps.

    Raises:
        FileError: a mask file is damaged.
    """
    files = told_files(run)
    if not files or run.meta.experiment == "mask_training":  # its tasks are held side by side
        return ()
    stores = [load_masks(file.path) for file in files]
    name = first_layer(stores[0])
    if name is None:
        return ()
    if not any(store.asleep_count(name) for store in stores):
        return ()
    input_shape = run.meta.data.input_shape
    last = awake_of(stores[-1], name)
    images = unit_images(last, input_shape)
    seed, levelled = files[0].seed, run.meta.experiment != "train"
    arm = arm_name(files[0].arm)
    where = (
        f"{name} of {arm}, seed {seed}, {_level(run, files[-1].level)}"
        if levelled
        else f"{name}, seed {seed}"
    )
    if images is None:
        flat = last.float().flatten(1)
        words = f"{where}: rows are outputs, columns inputs"
        return (_picture(shrink(flat), words, last),)
    found = []
    if last.dim() == 2:
        found = [
            _overview(
                awake_of(store, name),
                _level(run, file.level) if levelled else "all units",
                input_shape,
            )
            for store, file in _few(stores, files)
        ]
    shown = images[:MOST_UNITS]
    columns = min(len(shown), max(1, round(math.sqrt(2.0 * len(shown)))))
    which = f"{len(shown)} of {len(images)} units" if len(shown) < len(images) else "all units"
    words = f"{where}: incoming weights of {which}"
    return (*found, _picture(mosaic(shown, columns), words, last))


def told_files(run: RunData) -> list[MaskFile]:
    """The mask files of the first arm and seed that has any, by level."""
    order = {arm: i for i, arm in enumerate(run.meta.arms)}
    files = sorted(run.masks, key=lambda f: (order.get(f.arm, len(order)), f.seed, f.level))
    return [f for f in files if (f.arm, f.seed) == (files[0].arm, files[0].seed)]


def _level(run: RunData, level: int) -> str:
    """What a level is called in this experiment."""
    return f"task {level + 1}" if run.meta.experiment == "task_masks" else f"level {level}"


def _few(
    stores: Sequence[MaskStore], files: Sequence[MaskFile], most: int = 8
) -> list[tuple[MaskStore, MaskFile]]:
    """At most `most` levels, evenly spread, with the first and the last among them."""
    n = len(files)
    picked = sorted({round(i * (n - 1) / max(1, min(most, n) - 1)) for i in range(min(most, n))})
    return [(stores[i], files[i]) for i in picked]


def _overview(awake: Tensor, what: str, input_shape: Sequence[int] | None) -> Picture:
    images = unit_images(awake, input_shape)
    assert images is not None  # the caller saw the last level's images, and shapes never change
    return _picture(images.mean(0), f"{what}, {share(awake.double().mean().item())}", awake)


def _picture(grid: Tensor, title: str, awake: Tensor) -> Picture:
    kept = awake.double().mean().item()
    alt = f"Mask picture, {title}; {share(kept)} of these weights are awake."
    return Picture(grid, title, alt)
