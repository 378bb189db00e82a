"""The functions of native.c, compiled once per machine by the C compiler that is there.

They do in one pass over memory what the torch operations beside every call of them do in several,
bit for bit. Where there is no compiler, where what it made does not give the same bits, or where
the environment says SLEEPENGINE_NATIVE=0, `native()` is None and the torch operations are used.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

_SOURCE = Path(__file__).with_name("native.c")
_FLAGS = (("-march=native",), ())
_COMPILERS = ("cc", "gcc", "clang")
_WIDTHS = (1, 2, 4, 8)
_BYTES = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}

_P, _N, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_ARGUMENTS: dict[str, tuple[list[Any], Any]] = {
    "and": ([_P, _P, _N], None),
    "clear": ([_P, _P, _N], None),
    "fill": ([_P, _P, _N, _N], None),
    "move": ([_P, _P, _P, _N, _I], None),
    "split": ([_P, _P, _P, _N, _I], None),
    "restore": ([_P, _P, _P, _N], None),
    "nonzero": ([_P, _P, _N], _N),
    "gather": ([_P, _P, _N, _P, _P], None),
    "scatter": ([_P, _P, _N, _P, _P], None),
}
_ON_SCORES: dict[str, tuple[list[Any], Any]] = {
    "scan_f32": ([_P, _P, _N, _F, _F, _F, _I, _P, _P, _P, _N, _N, _P], _N),
    "settle_f32": ([_P, _P, _N, _F, _N, _N, _N, _P], _N),
    "lowest_of_4_f32": ([_P, _N, _I, _P], None),
}


@final
class Native:
    """The compiled functions; one of each for entries of 1, 2, 4 and 8 bytes.

    They take addresses, and check nothing: `fits` says whether tensors may be given.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.and_ = _by_width(library, "and")
        self.clear = _by_width(library, "clear")
        self.fill = _by_width(library, "fill")
        self.move = _by_width(library, "move")
        self.split = _by_width(library, "split")
        self.restore = _by_width(library, "restore")
        self.nonzero = _by_width(library, "nonzero")
        self.gather = _by_width(library, "gather")
        self.scatter = _by_width(library, "scatter")
        self.scan_f32, self.settle_f32, self.lowest_of_4_f32 = (
            _typed(library, name, *_ON_SCORES[name]) for name in _ON_SCORES
        )


@functools.cache
def native() -> Native | None:
    """The compiled functions, or None where they cannot be had."""
    if os.environ.get("SLEEPENGINE_NATIVE", "1") == "0":
        return None
    try:
        library = _library()
        return None if library is None else _verified(library)
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None  # no place to compile into, or a library that lacks a function


def fits(*tensors: Tensor) -> bool:
    """True when all tensors are plain, contiguous, and in the machine's own memory."""
    return all(
        type(t) in (Tensor, torch.nn.Parameter) and t.is_cpu and t.is_contiguous() for t in tensors
    )


def covers(bits: Tensor, *tensors: Tensor) -> bool:
    """True when compiled functions may take the tensors, of one size, with these packed bits."""
    numel = tensors[0].numel()
    return (
        bits.numel() == (numel + 7) // 8
        and bits.dtype is torch.uint8
        and all(t.numel() == numel for t in tensors)
        and fits(bits, *tensors)
    )


def written(tensor: Tensor) -> None:
    """Tell autograd that the tensor was written in place."""
    torch.autograd.graph.increment_version(tensor)


def _typed(library: ctypes.CDLL, name: str, arguments: list[Any], result: Any) -> Any:
    function = getattr(library, name)
    function.argtypes, function.restype = arguments, result
    return function


def _by_width(library: ctypes.CDLL, name: str) -> dict[int, Any]:
    return {w: _typed(library, f"{name}_{w}", *_ARGUMENTS[name]) for w in _WIDTHS}


def _library() -> ctypes.CDLL | None:
    """From the cache of this user, or compiled now."""
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None or os.name != "posix":
        return None
    key = hashlib.sha256(_SOURCE.read_bytes() + f"{compiler} {_processor()}".encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sleepengine"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
        return None  # code that others may write is not to be run
    path = folder / f"native-{key[:24]}.so"
    failed = path.with_suffix(".failed")
    if failed.exists():
        return None
    if not path.exists() and not _compile(compiler, path):
        failed.touch()  # once is enough
        return None
    return ctypes.CDLL(str(path))


def _compile(compiler: str, path: Path) -> bool:
    """Whether the library is there now; it appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / "native.so"
        for flags in _FLAGS:
            command = [compiler, "-O3", *flags, "-fPIC", "-shared", "-fvisibility=hidden"]
            command += [str(_SOURCE), "-o", str(made)]
            if subprocess.run(command, capture_output=True, timeout=60).returncode == 0:
                os.replace(made, path)
                return True
    return False


def _processor() -> str:
    """What the code is compiled for: homes are shared by machines of different make."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return f"{platform.system()} {platform.machine()} {platform.processor()} {sorted(told)}"


def _verified(library: ctypes.CDLL) -> Native | None:
    """The functions, once they have given the right bits on a small case of every width."""
    found = Native(library)
    random = np.random.default_rng(0)
    for width in _WIDTHS:
        if not _gives_right_bits(found, width, random):
            return None
    return found if _chooses_right(found, random) else None


def _chooses_right(found: Native, random: np.random.Generator) -> bool:
    """The scan of scores and the groups of four, against numpy."""
    scores = random.integers(-9, 9, 132).astype(np.float32)
    groups, below = np.empty((33, 4), np.bool_), np.empty(132, np.bool_)
    found.lowest_of_4_f32(scores.ctypes.data, 33, 2, groups.ctypes.data)
    order = np.argsort(scores.reshape(33, 4), axis=1, kind="stable")
    lowest = np.zeros((33, 4), np.bool_)
    np.put_along_axis(lowest, order[:, :2], True, axis=1)

    spots, inside, totals = np.empty(132, np.int64), np.empty(132, np.float32), (_N * 3)()
    out = (below.ctypes.data, spots.ctypes.data, inside.ctypes.data, 132, 0, totals)
    count = found.scan_f32(scores.ctypes.data, None, 132, 1.0, -2.0, 3.0, 0, *out)
    between = np.flatnonzero((scores >= -2) & (scores <= 3))
    return (
        np.array_equal(groups, lowest)
        and np.array_equal(below, scores < -2)
        and np.array_equal(spots[:count], between)
        and np.array_equal(inside[:count], scores[between])
        and totals[0] == np.count_nonzero(below)
    )


def _gives_right_bits(found: Native, width: int, random: np.random.Generator) -> bool:
    """Every function once, against numpy."""
    n = 133
    chosen = random.random(n) < 0.5
    bits = np.packbits(chosen, bitorder="little")
    x, y = (random.bytes(n * width) for _ in range(2))
    kind: Any = _BYTES[width]

    def fresh() -> tuple[Any, Any]:
        return np.frombuffer(x, kind).copy(), np.frombuffer(y, kind).copy()

    (a, b), at, zero = fresh(), bits.ctypes.data, kind(0)
    right: list[Any] = []

    p, q = fresh()
    found.and_[width](p.ctypes.data, at, n)
    right.append(np.array_equal(p, np.where(chosen, a, zero)))
    p, q = fresh()
    found.clear[width](p.ctypes.data, at, n)
    right.append(np.array_equal(p, np.where(chosen, zero, a)))
    p, q = fresh()
    found.fill[width](p.ctypes.data, at, n, 77)
    right.append(np.array_equal(p, np.where(chosen, kind(77), a)))
    p, q = fresh()
    found.move[width](p.ctypes.data, q.ctypes.data, at, n, 1)
    right.append(np.array_equal(q, np.where(chosen, a, b)))
    right.append(np.array_equal(p, np.where(chosen, zero, a)))
    p, q = fresh()
    found.split[width](p.ctypes.data, q.ctypes.data, at, n, 1)
    right.append(np.array_equal(q, np.where(chosen, a, zero)))
    right.append(np.array_equal(p, np.where(chosen, zero, a)))
    p, q = fresh()
    found.restore[width](p.ctypes.data, at, q.ctypes.data, n)
    right.append(np.array_equal(p, np.where(chosen, a, zero) | b))
    right.append(found.nonzero[width](a.ctypes.data, at, n) == np.count_nonzero(a[chosen]))
    values = np.empty(int(chosen.sum()), kind)
    first, end = values.ctypes.data, values.ctypes.data + values.nbytes
    found.gather[width](a.ctypes.data, at, n, first, end)
    right.append(np.array_equal(values, a[chosen]))
    p, q = fresh()
    found.scatter[width](q.ctypes.data, at, n, first, end)
    right.append(np.array_equal(q, np.where(chosen, a, b)))
    return all(right)
