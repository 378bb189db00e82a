"""IDX files, the format of MNIST and its kin: bytes in a big-endian frame, gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from sleepengine.errors import FileError

MAX_BYTES = 2 * 1024**3
_GZIP = b"\x1f\x8b"


def read(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor in an IDX file; gzip is told by the first two bytes, not by the name.

    The frame: 0, 0, 8 (unsigned bytes), the number of dimensions, each size as 4 bytes, the data.

    Args:
        path: the file.
        dimensions: how many the tensor must have (3 for images, 1 for labels).

    Raises:
        FileError: the file cannot be read, has another type or number of dimensions, or has more
            or fewer bytes than its sizes say.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            if not packed:
                return _tensor(file, path, dimensions)
            with gzip.open(file) as inner:
                return _tensor(inner, path, dimensions)
    except (OSError, EOFError, zlib.error) as fault:
        raise FileError(f"{path}: cannot be read: {fault}") from fault


def _tensor(file: IO[bytes] | gzip.GzipFile, path: Path, dimensions: int) -> Tensor:
    head = file.read(4 + 4 * dimensions)
    if len(head) < 4 or head[:3] != b"\0\0\x08":
        raise FileError(f"{path}: not an IDX file of unsigned bytes")
    if head[3] != dimensions:
        raise FileError(f"{path}: has {head[3]} dimensions, expected {dimensions}")
    if len(head) < 4 + 4 * dimensions:
        raise FileError(f"{path}: cut short inside its sizes")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    wanted = math.prod(shape)
    if wanted > MAX_BYTES:
        raise FileError(f"{path}: the sizes {list(shape)} need {wanted} bytes, which is too much")
    data = bytearray(file.read(wanted + 1))
    if len(data) != wanted:
        found = "more" if len(data) > wanted else str(len(data))
        raise FileError(f"{path}: the sizes {list(shape)} need {wanted} bytes, found {found}")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape))
