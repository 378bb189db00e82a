"""Test names must be the same in every process, or parallel runs collect different tests."""

import re

import pytest

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    moving = sorted({item.nodeid for item in items if ADDRESS.search(item.nodeid)})
    if moving:
        raise pytest.UsageError(
            "test names with memory addresses differ in every process; give these ids: "
            + ", ".join(moving[:5])
        )
