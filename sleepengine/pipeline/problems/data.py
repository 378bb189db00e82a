"""Data sets for pipelines: scikit-learn's digits, and MNIST-like images from a folder."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems import image_files
from sleepengine.pipeline.problems.bundle import Data, Part, Scaling, Split, TensorBatches
from sleepengine.pipeline.problems.splitting import measure, stratified

__all__ = ["Data", "Part", "Scaling", "Split", "TensorBatches", "digits", "mnist_family"]


def digits(*, valid: float = 0.2, test: float = 0.2, seed: int = 0) -> Data:
    """The 1,797 hand-written 8x8 digits that come with scikit-learn; ten classes.

    Each class gives floor(f n + 1/2) samples to `valid` and to `test`; which ones depends on the
    seed alone. Inputs (1, 8, 8) are scaled by mean and standard deviation of the training split.

    Raises:
        SetupError: scikit-learn is not installed, or a fraction leaves nothing to train on.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as fault:
        raise SetupError(
            "the digits come with scikit-learn: pip install 'sleepengine[data]'"
        ) from fault
    images, labels = load_digits(return_X_y=True)
    raw = torch.from_numpy(images).to(torch.uint8).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(labels).to(torch.int64)
    parts = stratified(y, valid, test, seed)
    scaling = measure(raw[parts[0]], full=16.0)
    train, held, tested = (Split(scaling.apply(raw[part]), y[part]) for part in parts)
    return Data("digits", train, held, tested, (1, 8, 8), 10, scaling)


def mnist_family(folder: str | os.PathLike[str], name: str = "mnist", *, valid: int = 5000) -> Data:
    """MNIST or a data set of the same form (Fashion-MNIST, KMNIST) from a folder; no download.

    Read from `folder/name.npz` (x_train, y_train, x_test, y_test) or from the four IDX files. The
    last `valid` training images are the validation split, always the same ones. Inputs
    (1, height, width) are scaled by mean and standard deviation of the training split.

    Raises:
        SetupError: no such data set in the folder (the message lists what was looked for), or
            `valid` is negative or leaves nothing to train on.
        FileError: a file is damaged, or the arrays do not fit together.
    """
    images = image_files.load(Path(folder), name)
    train = len(images.x_train) - valid
    if valid < 0 or train < 1:
        raise SetupError(
            f"valid must be 0 to {len(images.x_train) - 1} of the training images, found {valid}"
        )
    x_train, x_test = images.x_train.unsqueeze(1), images.x_test.unsqueeze(1)
    scaling = measure(x_train[:train], full=255.0)
    return Data(
        name,
        Split(scaling.apply(x_train[:train]), images.y_train[:train]),
        Split(scaling.apply(x_train[train:]), images.y_train[train:]),
        Split(scaling.apply(x_test), images.y_test),
        tuple(x_train.shape[1:]),
        images.classes,
        scaling,
    )
