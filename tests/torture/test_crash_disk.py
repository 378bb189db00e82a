"""A full disk and a folder that cannot be written: a clear error, and nothing lost."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sleepengine.errors import FileError
from sleepengine.files import container
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.resuming import resume
from sleepengine.pipeline.running import run

from .crash_runs import CONFIGS, Case, blobs, content, finish, fresh, undisturbed
from .scale import scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
CASE = Case("short", draws=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return undisturbed(CASE, tmp_path_factory.mktemp("whole") / "place")[0]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return fresh(tmp_path / "place")


class Failing:
    """A call of `os` that fails from its n-th time on, as it does when the disk is full."""

    def __init__(self, inner: Callable[..., Any], left: int, number: int) -> None:
        self.inner, self.left, self.number = inner, left, number

    def __call__(self, *args: Any, **given: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return self.inner(*args, **given)


FAULTS = [
    ("fsync", errno.ENOSPC),
    ("replace", errno.EROFS),
    ("fsync", errno.EIO),
    ("replace", errno.EDQUOT),
]


@pytest.mark.parametrize("after", range(7, 7 + scaled(3, 7)))
@pytest.mark.parametrize(("call", "number"), FAULTS)
def test_a_disk_that_fails_leaves_a_run_that_goes_on(
    call: str, number: int, after: int, place: Path, whole: dict[str, Any], monkeypatch: Any
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, Failing(getattr(os, call), after, number))
        with pytest.raises(FileError, match=os.strerror(number)) as fault:
            CASE.carry_out(place)
    assert str(place / "run") in str(fault.value)
    if (place / "run" / "run.json").exists():
        assert container.inspect(place / "run" / "checkpoint.run").kind == "run"
    finish(CASE, place)
    assert content(place) == whole


def test_no_room_for_a_checkpoint(place: Path, whole: dict[str, Any]) -> None:
    """Files may not grow beyond a limit, which the checkpoint meets first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    first = place / "size"
    run(CONFIGS["short"], out=first, data=blobs(), options=Options(progress=False))
    limit = max(path.stat().st_size for path in first.rglob("*") if path.is_file())
    shutil.rmtree(first)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit + 1, hard))
    try:
        with pytest.raises(FileError, match=r"checkpoint\.run: the file was not written: .*large"):
            CASE.carry_out(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert container.inspect(place / "run" / "checkpoint.run").state["done"] == 0
    finish(CASE, place)
    assert content(place) == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 256 KiB. Who may not mount one still has its errors, raised by hand above."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(
            "no right to mount a disk; ENOSPC and EROFS raised by hand are in "
            "test_a_disk_that_fails_leaves_a_run_that_goes_on"
        )
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def make_read_only(disk: Path) -> None:
    """Who could mount it can: if this fails, that is a failure."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def test_a_small_disk_fills_up_and_is_cleared(small_disk: Path, whole: dict[str, Any]) -> None:
    place = fresh(small_disk / "place")
    filler = small_disk / "filler"
    room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(bytes(room - 40 * 1024))
    with pytest.raises(FileError, match="No space left on device"):
        CASE.carry_out(place)
    filler.unlink()
    finish(CASE, place)
    assert content(place) == whole


def test_a_folder_that_is_read_only(small_disk: Path) -> None:
    (small_disk / "folder").mkdir()
    make_read_only(small_disk)
    with pytest.raises(FileError, match="run: cannot be made: Read-only file system"):
        run(CONFIGS["short"], out=small_disk / "folder" / "run", data=blobs(), progress=False)


def test_a_checkpoint_on_a_disk_that_became_read_only(small_disk: Path) -> None:
    place = fresh(small_disk / "place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", Failing(os.replace, 9, errno.ENOSPC))
        with pytest.raises(FileError, match="No space left"):
            CASE.carry_out(place)
    before = (place / "run" / "checkpoint.run").read_bytes()
    make_read_only(small_disk)
    with pytest.raises(FileError, match="the file was not written: Read-only file system"):
        resume(place / "run", data=blobs(), progress=False)
    assert (place / "run" / "checkpoint.run").read_bytes() == before


def test_a_file_stands_where_the_folder_should(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="run: cannot be made: Not a directory"):
        run(CONFIGS["short"], out=tmp_path / "file" / "run", data=blobs(), progress=False)
