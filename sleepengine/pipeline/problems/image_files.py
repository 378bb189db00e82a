"""Finding the four arrays of an MNIST-like data set in a folder: `.npz` or IDX files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import FileError, SetupError
from sleepengine.pipeline.problems import idx_files

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
# What NumPy and zipfile raise on damaged archives: RuntimeError for a flag that says "encrypted",
# MemoryError for a shape that cannot be.
_NPZ_FAULTS = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
# Both spellings are in circulation.
_IDX = {
    "x_train": ("train-images-idx3-ubyte", "train-images.idx3-ubyte"),
    "y_train": ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte"),
    "x_test": ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"),
    "y_test": ("t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"),
}


@dataclass(frozen=True)
class Images:
    """Raw images (uint8, (n, height, width)) and labels (int64, (n,)), for training and test."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int


def load(folder: Path, name: str) -> Images:
    """The data set `name` from `folder/name.npz`, or from IDX files in the folder.

    IDX files (`train-images-idx3-ubyte` and so on, with or without `.gz`) are looked for in
    `folder/name`, `folder/name/raw` and `folder`, and the name also in upper case.

    Raises:
        SetupError: nothing is there; the message lists what was looked for.
        FileError: a file is damaged, or the arrays do not fit together.
    """
    if not folder.is_dir():
        raise SetupError(f"the data folder {folder} does not exist")
    archive = folder / f"{name}.npz"
    if archive.is_file():
        return _checked(_from_npz(archive), str(archive))
    places = [folder / name, folder / name / "raw", folder / name.upper(), folder]
    places.insert(3, folder / name.upper() / "raw")
    for place in places:
        found = _idx_paths(place)
        if len(found) == len(_ARRAYS):
            arrays = {
                key: idx_files.read(path, 3 if key.startswith("x") else 1)
                for key, path in found.items()
            }
            return _checked(arrays, str(place))
        if found:
            missing = ", ".join(_IDX[key][0] for key in _ARRAYS if key not in found)
            raise SetupError(f"{place} has some of the IDX files, but not: {missing} (or .gz)")
    looked = ", ".join(str(place) for place in places)
    names = ", ".join(spellings[0] for spellings in _IDX.values())
    raise SetupError(
        f"no data set {name!r} here. Looked for {archive} "
        f"with {', '.join(_ARRAYS)}, and for the files {names} (or .gz) in: {looked}"
    )


def _idx_paths(place: Path) -> dict[str, Path]:
    found = {}
    for key, spellings in _IDX.items():
        candidates = [place / f"{s}{end}" for s in spellings for end in ("", ".gz")]
        for candidate in candidates:
            if candidate.is_file():
                found[key] = candidate
                break
    return found


def _from_npz(path: Path) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > 2 * idx_files.MAX_BYTES:
            raise FileError(f"{path}: would unpack to {size} bytes, which is too much")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [key for key in _ARRAYS if key not in arrays.files]
            if missing:
                raise FileError(f"{path}: has no {', '.join(missing)}; found {arrays.files}")
            return {key: _integers(arrays[key], path, key) for key in _ARRAYS}
    except FileError:
        raise
    except _NPZ_FAULTS as fault:
        raise FileError(f"{path}: cannot be read: {fault}") from fault


def _integers(array: np.ndarray, path: Path, key: str) -> Tensor:
    if array.dtype.kind not in "ui" or (key.startswith("x") and array.dtype != np.uint8):
        wanted = "uint8" if key.startswith("x") else "integers"
        raise FileError(f"{path}: {key} has dtype {array.dtype}, expected {wanted}")
    return torch.from_numpy(array if array.dtype == np.uint8 else array.astype(np.int64))


def _checked(arrays: dict[str, Tensor], where: str) -> Images:
    """The arrays, once their sizes and labels are seen to fit together."""
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.dim() != 3 or y.dim() != 1 or len(x) != len(y) or x.numel() == 0:
            raise FileError(
                f"{where}: x_{part} {list(x.shape)} and y_{part} {list(y.shape)} must be "
                "(n, height, width) and (n,)"
            )
    train, test = arrays["x_train"], arrays["x_test"]
    if train.shape[1:] != test.shape[1:]:
        raise FileError(
            f"{where}: images of {list(train.shape[1:])} for training, "
            f"of {list(test.shape[1:])} for the test"
        )
    y_train, y_test = arrays["y_train"].long(), arrays["y_test"].long()
    present = torch.unique(y_train)
    classes = len(present)
    if present.tolist() != list(range(classes)):
        raise FileError(f"{where}: labels must be 0, 1, 2, ...; found {present.tolist()[:20]}")
    if int(y_test.min()) < 0 or int(y_test.max()) >= classes:
        raise FileError(f"{where}: a test label is not one of the {classes} training labels")
    return Images(train, y_train, test, y_test, classes)
