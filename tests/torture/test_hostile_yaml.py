"""Mutated configurations: a Config or a ConfigError with a place, in bounded time, never code."""

from __future__ import annotations

import os
import random
import re
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sleepengine.errors import ConfigError
from sleepengine.pipeline.configuration.config import Config, load
from sleepengine.pipeline.configuration.schema import json_schema
from sleepengine.pipeline.configuration.tables import Plugins, tables

from .conftest import FIGURES
from .hostile_texts import mutated
from .scale import scaled

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

CONFIGS = Path(__file__).parents[2] / "configs"
SHARDS = scaled(2, 20)
SECONDS, MEGABYTES = 10.0, 400
PLACE = re.compile(r"[^\n]*:[0-9]+:[0-9]+: .+")
FORBIDDEN = (
    "exec", "compile", "import", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove",
    "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate",
    "os.putenv", "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo",
    "ctypes.dlopen", "ctypes.dlsym", "pickle.find_class", "marshal.loads", "builtins.input",
    "shutil.rmtree", "urllib.Request", "webbrowser.open", "code.__new__", "tempfile.mkstemp",
)  # fmt: skip


class Watch:
    """Notes every forbidden thing that happens while a file is read."""

    def __init__(self, path: Path) -> None:
        self.reading = False
        self.seen: list[str] = []
        self._path = str(path)
        sys.addaudithook(self._note)

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.reading:
            return
        if event == "open" and (str(args[0]) != self._path or args[2] & (os.O_WRONLY | os.O_RDWR)):
            self.seen.append(f"open {args[0]!r}")
        elif event.startswith(FORBIDDEN):
            self.seen.append(f"{event} {args[:1]!r}"[:200])


def names() -> list[str]:
    """All words that a configuration may use."""
    known = tables(Plugins())
    kinds = [*known.kinds.values(), known.models, known.data, known.optimizers, known.lr_schedules]
    words = {name for kind in kinds for name in kind.entries}
    words |= {n for kind in kinds for entry in kind.entries.values() for n in entry.arguments}
    return sorted(words)


def attempts(shard: int, count: int, path: Path) -> str:
    """Read so many mutated files; what was wrong, or nothing. For a process of its own."""
    warnings.simplefilter("ignore")
    json_schema(None)  # looks up every type of every argument, which evaluates annotations
    texts = [one.read_text() for one in sorted(CONFIGS.glob("*.yaml"))]
    for text in texts:
        load(text)
    words, chance, watch = names(), random.Random(shard), Watch(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slowest, accepted = 0.0, 0
    for number in range(count):
        raw = mutated(texts, words, chance)
        path.write_bytes(raw)
        began = time.process_time()
        watch.reading = True
        try:
            accepted += isinstance(load(path), Config)
        except ConfigError as fault:
            lines = str(fault).split("\n")
            if not all(PLACE.fullmatch(line) for line in lines):
                return f"no place in {fault} for {raw!r}"
        except BaseException as fault:
            return f"mutation {number} of shard {shard}: {type(fault).__name__}: {fault}: {raw!r}"
        finally:
            watch.reading = False
        took = time.process_time() - began
        slowest = max(slowest, took)
        if took > SECONDS:
            return f"{took:.1f} s for {raw!r}"
        if watch.seen:
            return f"{watch.seen} for {raw!r}"
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if grown > MEGABYTES:
            return f"{grown:.0f} MB for {raw!r}"
    words = f"files {count}, accepted {accepted}, slowest {slowest:.2f} s, memory {grown:.0f} MB"
    path.with_suffix(".figures").write_text(words)
    return ""


@pytest.mark.parametrize("shard", range(SHARDS))
def test_mutated_configurations(
    shard: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    count = scaled(200, 100_000) // SHARDS
    told = tmp_path / "told"
    child = os.fork()
    if not child:
        try:
            told.write_text(attempts(shard, count, tmp_path / "bad.yaml"))
        except BaseException as fault:
            told.write_text(f"{type(fault).__name__}: {fault}")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert told.read_text() == ""
    record_property(FIGURES, (tmp_path / "bad.figures").read_text())
