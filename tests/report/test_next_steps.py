from pathlib import Path

import pytest

from sleepengine.report.next_steps import next_steps
from sleepengine.report.run_data import RunData


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of configurations, in a place with a blank in its name."""
    place = tmp_path / "my configs"
    place.mkdir()
    for name in ("lottery_ticket", "lottery_ticket_late_rewind", "rigl", "random_pruning"):
        (place / f"{name}.yaml").write_text("# a comment\ndata: mnist\nmodel: mlp\n")
    return place


def test_a_lottery_is_held_against_one_that_rewinds_later(make_run, folder):
    run = RunData.load(make_run(levels=1))
    assert next_steps(run, folder / "lottery_ticket.yaml") == (
        (
            "next, weights that go back to an early step",
            f"sleepengine run '{folder}/lottery_ticket_late_rewind.yaml'",
        ),
        ("then side by side", f"sleepengine compare {run.path} OTHER_RUN"),
    )


def test_a_training_is_held_against_chance_unless_it_is_chance(make_train, folder):
    run = RunData.load(make_train())
    assert "random_pruning.yaml" in next_steps(run, folder / "rigl.yaml")[0][1]
    assert [words for words, _ in next_steps(run, folder / "random_pruning.yaml")] == [
        "side by side with another run"
    ]


def test_one_seed_wants_more(make_train, folder):
    steps = next_steps(RunData.load(make_train(seeds=(0,))), folder / "rigl.yaml")
    assert steps[0] == (
        "for intervals, more seeds",
        f"sleepengine run '{folder}/rigl.yaml' --seeds 0,1,2",
    )


@pytest.mark.parametrize("change", ["missing", "other data", "unknown"])
def test_nothing_is_named_that_is_not_there_or_is_about_other_data(make_train, folder, change):
    run, config = RunData.load(make_train()), folder / "rigl.yaml"
    if change == "missing":
        (folder / "random_pruning.yaml").unlink()
    if change == "other data":
        (folder / "random_pruning.yaml").write_text("data: digits\n")
    steps = next_steps(run, None if change == "unknown" else config)
    assert [words for words, _ in steps] == ["side by side with another run"]
