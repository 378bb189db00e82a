"""Test names must be the same in every process, or parallel runs collect different tests."""

import re
from pathlib import Path

import pytest

from .command_lines import CONFIG

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    moving = sorted({item.nodeid for item in items if ADDRESS.search(item.nodeid)})
    if moving:
        raise pytest.UsageError(
            "test names with memory addresses differ in every process; give these ids: "
            + ", ".join(moving[:5])
        )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with a small configuration, for the command line."""
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path
