"""Every system call of every write is a moment to die at: the run goes on from each of them."""

from __future__ import annotations

import builtins
import mmap
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sleepengine.pipeline import parallel, resuming, running
from sleepengine.pipeline.experiments.runner import Options
from sleepengine.pipeline.parallel import Parallel

from .crash_runs import Case, blobs, child, content, finish, fresh, scratch, undisturbed
from .scale import scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

CALLS = ("open", "fsync", "replace", "unlink", "mkdir", "rmdir", "close")
CASE = Case("short", draws=False)


class Points:
    """Counts the calls that change files, in a child, and dies at one of them."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self._memory = mmap.mmap(-1, 8)

    @property
    def count(self) -> int:
        """Calls so far."""
        return int(struct.unpack("q", self._memory[:])[0])

    def begin(self) -> None:
        """In the child: watch the calls."""
        for name in CALLS:
            setattr(os, name, self._watched(getattr(os, name)))
        inner = builtins.open

        def opened(file: Any, mode: str = "r", *args: Any, **given: Any) -> Any:
            made = inner(file, mode, *args, **given)
            return _Torn(made, self) if "w" in mode or "a" in mode else made

        builtins.open = opened  # type: ignore[assignment]

    def pass_one(self) -> bool:
        """Count a call; whether this is the one to die at."""
        self._memory[:] = struct.pack("q", self.count + 1)
        return self.count == self._at

    def _watched(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **given: Any) -> Any:
            if self.pass_one():
                os._exit(9)
            return inner(*args, **given)

        return call


class _Torn:
    """A file that may die in the middle of a write."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner, self._points = inner, points

    def write(self, data: bytes) -> int:
        if self._points.pass_one():
            self._inner.write(data[: len(data) // 2])
            self._inner.flush()
            os._exit(9)
        return int(self._inner.write(data))

    def __enter__(self) -> _Torn:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = scratch(tmp_path_factory.mktemp("points"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


def attempt(work: Callable[[], None], place: Path, at: int | None) -> tuple[int, int]:
    """(exit code, calls counted) of a child that dies at a call."""
    points = Points(at)

    def watched() -> None:
        points.begin()
        work()

    status = os.waitpid(child(watched, place / "errors"), 0)[1]
    return os.waitstatus_to_exitcode(status), points.count


def chosen(count: int, few: int) -> list[int]:
    """All of the calls at full scale, some at random in the normal suite."""
    wanted = min(count, scaled(few, count))
    return sorted(random.Random(0).sample(range(1, count + 1), wanted))


def test_a_run_goes_on_from_every_call(memory: Path, figures: Callable[..., None]) -> None:
    expected, _ = undisturbed(CASE, memory / "whole")
    place = fresh(memory / "counted")
    code, count = attempt(lambda: CASE.carry_out(place), place, None)
    assert code == 0, (place / "errors").read_text()
    assert count > 150
    assert content(place) == expected
    for at in chosen(count, 12):
        place = fresh(memory / "died")
        assert attempt(partial(CASE.carry_out, place), place, at)[0] == 9
        finish(CASE, place)
        assert content(place) == expected, f"died at call {at} of {count}"
    figures(deaths=len(chosen(count, 12)))


def test_resuming_may_die_at_every_call_too(memory: Path, figures: Callable[..., None]) -> None:
    expected, _ = undisturbed(CASE, memory / "whole 2")
    first = fresh(memory / "first")
    _, count = attempt(lambda: CASE.carry_out(first), first, None)
    place = fresh(memory / "begun")
    assert attempt(lambda: CASE.carry_out(place), place, count // 2)[0] == 9
    again = fresh(memory / "again")
    shutil.copytree(place, again, dirs_exist_ok=True)
    code, more = attempt(lambda: CASE.carry_out(again), again, None)
    assert code == 0, (again / "errors").read_text()
    for at in chosen(more, 8):
        again = fresh(memory / "again")
        shutil.copytree(place, again, dirs_exist_ok=True)
        assert attempt(partial(CASE.carry_out, again), again, at)[0] == 9
        finish(CASE, again)
        assert content(again) == expected, f"died at call {at} of {more} while resuming"
    figures(deaths=len(chosen(more, 8)))


SIDE_BY_SIDE = """
name: both
model: {mlp: {sizes: [3]}}
train: {length: 2it, batch_size: 200, evaluate: 2it}
seeds: [0, 1]
"""


def side_by_side(place: Path) -> None:
    """A run in two parts, which are carried out here instead of in processes of their own."""

    def carry_out(self: Parallel, _: object) -> None:
        for part in self._parts():
            resuming.resume(part.path, data=blobs(), progress=False)

    parallel.Parallel._carry_out = carry_out  # type: ignore[method-assign, assignment]
    folder = place / "run"
    if (folder / "run.json").exists():
        resuming.resume(folder, progress=False)
        return
    running.check_workers = lambda *_: None
    options = Options(progress=False, workers=2)
    running.run(SIDE_BY_SIDE, out=folder, data=blobs(), options=options)


def test_seeds_side_by_side_go_on_from_every_call(
    memory: Path, figures: Callable[..., None]
) -> None:
    def work() -> None:
        side_by_side(place)

    place = fresh(memory / "parts")
    (place / "ends").mkdir()
    code, count = attempt(work, place, None)
    assert code == 0, (place / "errors").read_text()
    expected = content(place)
    assert "parts" not in expected["names"]
    for at in chosen(count, 6):
        place = fresh(memory / "parts")
        (place / "ends").mkdir()
        assert attempt(work, place, at)[0] == 9
        code, _ = attempt(work, place, None)
        assert code == 0, f"call {at} of {count}: {(place / 'errors').read_text()}"
        assert content(place) == expected, f"died at call {at} of {count}"
    figures(deaths=len(chosen(count, 6)))
