"""Every public name can be had, and is what its package says it is."""

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
    with pytest.raises(AttributeError, match=r"'sleepengine\.pipeline' has no attribute 'runn'"):
        pipeline.runn  # noqa: B018
