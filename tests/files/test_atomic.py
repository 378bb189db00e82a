import os
import resource
import stat

import pytest

from sleepengine.errors import FileError
from sleepengine.files import atomic


def names(folder):
    return sorted(os.listdir(folder))


def test_writes_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a"
    atomic.write(path, [b"one", b"", b"two"])
    assert path.read_bytes() == b"onetwo"
    atomic.write(path, [b"x"])
    assert path.read_bytes() == b"x"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_mode_is_that_of_any_new_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        atomic.write(tmp_path / "a", [b"x"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic.write(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_no_room_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(FileError, match=r"a: the file was not written: .*unchanged"):
            atomic.write(path, [bytes(100_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_fault_in_any_step_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_args, **_keywords):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(FileError, match="Read-only file system"):
        atomic.write(path, [b"new"])
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_interrupt_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def chunks():
        yield b"new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atomic.write(path, chunks())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(FileError, match="No such file or directory"):
        atomic.write(tmp_path / "none" / "a", [b"x"])
    with pytest.raises(FileError, match="Is a directory"):
        atomic.write(tmp_path, [b"x"])
    with pytest.raises(FileError, match="null"):
        atomic.write(f"{tmp_path}/a\0b", [b"x"])


def test_order_is_sync_rename_sync(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def traced_fsync(number):
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    def traced_replace(source, target):
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "fsync", traced_fsync)
    monkeypatch.setattr(atomic.os, "replace", traced_replace)
    atomic.write(tmp_path / "a", [b"x"])
    assert done == ["file", "rename", "folder"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_dies_while_writing(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def dies():
        yield b"half"
        os._exit(0)

    child = os.fork()
    if child == 0:
        atomic.write(path, dies())
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert path.read_bytes() == b"old"
    litter = [name for name in names(tmp_path) if name != "a"]
    assert len(litter) == 1
    assert f"-{child}-" in litter[0]
    atomic.write(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a"]


def test_only_litter_of_the_dead_is_removed(tmp_path):
    prefix = f".a.{atomic._HOST}-"
    keep = {
        f"{prefix}{os.getppid()}-00000000-00000000.tmp",  # alive
        f"{prefix}{os.getpid()}-{atomic._PROCESS}-00000000.tmp",  # another thread of ours
        ".a.otherhost-1-00000000-00000000.tmp",
        f".b.{atomic._HOST}-999999999-00000000-00000000.tmp",
        f"{prefix}x.tmp",
    }
    remove = {
        f"{prefix}999999999-00000000-00000000.tmp",
        f"{prefix}{os.getpid()}-ffffffff-00000000.tmp",  # an earlier process with our number
    }
    for name in keep | remove:
        (tmp_path / name).touch()
    atomic.write(tmp_path / "a", [b"x"])
    assert set(names(tmp_path)) == {"a"} | keep
