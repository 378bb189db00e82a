"""Every public name can be had, and is what its package says it is."""

import re
from pathlib import Path

import pytest

import sleepengine
from sleepengine import pipeline


@pytest.mark.parametrize("name", sleepengine.__all__)
def test_names_of_the_package(name):
    value = getattr(sleepengine, name)
    assert getattr(value, "__doc__", None), f"{name} says nothing of itself"


@pytest.mark.parametrize("name", pipeline.__all__)
def test_names_of_pipelines(name):
    assert getattr(pipeline, name).__module__.startswith("sleepengine.pipeline.")


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"'sleepengine' has no attribute 'SleepEngin'.*Sleep"):
        sleepengine.SleepEngin  # noqa: B018
    with pytest.raises(
        AttributeError, match=r"'sleepengine\.pipeline' .*'runn'\. Did you mean 'run'"
    ):
        pipeline.runn  # noqa: B018


def test_pages_and_examples_import_what_is_public():
    """From the two public modules, and from the two packages below that people write for."""
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *(root / "docs").glob("*.md"), *(root / "examples").glob("*.py")]
    deep = re.compile(r"(?:from|import) (sleepengine\.[\w.]+)")
    for page in pages:
        modules = set(deep.findall(page.read_text(encoding="utf-8")))
        assert modules <= {"sleepengine.pipeline", "sleepengine.report"}, page.name
