"""The clock: epochs, defaults, what is refused."""

from __future__ import annotations

import pickle

import pytest

from schedules import Clock


@pytest.mark.parametrize(
    ("iteration", "epoch"), [(0, 0), (1, 0), (99, 0), (100, 1), (199, 1), (200, 2)]
)
def test_epoch_counts_complete_epochs(iteration: int, epoch: int) -> None:
    assert Clock(iteration, steps_per_epoch=100).epoch == epoch


def test_epoch_needs_the_length() -> None:
    with pytest.raises(ValueError, match="give steps_per_epoch="):
        _ = Clock(5).epoch


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"iteration": -1}, ValueError, r"Clock\(iteration=-1\): must be at least 0"),
        ({"iteration": 1.0}, TypeError, r"iteration=1.0.*not float"),
        ({"iteration": True}, TypeError, "iteration=True"),
        ({"steps_per_epoch": 0}, ValueError, "steps_per_epoch=0.*at least 1"),
        ({"steps_per_epoch": "9"}, TypeError, "steps_per_epoch='9'"),
        ({"total_steps": 0}, ValueError, "total_steps=0.*at least 1"),
        ({"last_fired": -3}, ValueError, "last_fired=-3"),
    ],
)
def test_refused(fields: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Clock(**fields)


def test_defaults_are_empty_and_not_shared() -> None:
    assert Clock().metrics == {}
    assert Clock().metrics is not Clock().metrics
    assert Clock().events == frozenset()
    assert pickle.loads(pickle.dumps(Clock(3, 10, 30))) == Clock(3, 10, 30)
