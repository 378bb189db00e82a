import pytest

from sleepengine.pipeline.worker_count import MOST, WORTH_STEPS, cores, worth


@pytest.mark.parametrize(
    ("seeds", "steps", "available", "expected"),
    [
        (5, WORTH_STEPS - 1, 4, 1),  # starting processes costs more than it saves
        (5, WORTH_STEPS, 4, 4),
        (3, 10**6, 16, 3),  # no more than seeds
        (20, 10**6, 64, MOST),
        (5, 10**6, 1, 1),
        (1, 10**6, 4, 1),
    ],
)
def test_one_process_per_seed_and_core_for_long_runs(seeds, steps, available, expected):
    assert worth(seeds, steps, available) == expected


def test_this_machine_has_a_core():
    assert cores() >= 1
