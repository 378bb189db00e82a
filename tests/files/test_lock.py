import os

import pytest

from sleepengine.errors import FileError
from sleepengine.files import lock


def test_a_folder_is_held_once(tmp_path):
    with lock.held(tmp_path):
        with (
            pytest.raises(FileError, match="another process is writing this run"),
            lock.held(tmp_path),
        ):
            pass
        assert os.listdir(tmp_path) == []
    with lock.held(tmp_path):
        pass


def test_no_folder(tmp_path):
    with (
        pytest.raises(FileError, match="none: cannot be opened: No such file"),
        lock.held(tmp_path / "none"),
    ):
        pass


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_dead_process_holds_nothing(tmp_path):
    child = os.fork()
    if not child:
        held = lock.held(tmp_path)
        held.__enter__()
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with lock.held(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", fails)
    with lock.held(tmp_path), lock.held(tmp_path):
        pass
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.held(tmp_path), lock.held(tmp_path):
        pass
