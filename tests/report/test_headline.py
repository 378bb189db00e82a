from dataclasses import replace

import pytest

from sleepengine.report.headline import headline
from sleepengine.report.run_data import RunData


def given(run: RunData, table: dict) -> RunData:
    seeds = {seed: i for i, seed in enumerate(run.meta.seeds)}
    return replace(
        run,
        results=tuple(
            replace(r, test_accuracy=table[r.arm][r.level][seeds[r.seed]]) for r in run.results
        ),
    )


@pytest.fixture
def lottery(make_run):
    run = RunData.load(make_run(levels=3, test_examples=500))
    table = {
        "ticket": [[0.97, 0.98, 0.99], [0.971, 0.98, 0.99], [0.95, 0.96, 0.97]],
        "reinit": [[0.97, 0.98, 0.99], [0.95, 0.95, 0.95], [0.90, 0.91, 0.92]],
    }
    return given(run, table)


def test_a_lottery_in_words(lottery):
    assert headline(lottery) == (
        "At 25.0% of the weights the ticket reaches 96.0 ± 2.5%, random re-initialisation "
        "91.0 ± 2.5%; with all weights the network reaches 98.0 ± 2.5%.",
        "Down to 50.0% of the weights the ticket is not measurably worse than the whole network "
        "(98.0 ± 2.4%).",
        "Seed by seed at 25.0%, ticket minus random re-initialisation is +5.0 ± 0.0 points: "
        "the interval leaves out zero.",
        "± is half of the 95% interval of the mean (Student's t) over 3 seeds.",
    )


def test_arms_that_cannot_be_told_apart(make_run):
    run = given(
        RunData.load(make_run(levels=1, test_examples=500)),
        {"ticket": [[0.97, 0.98, 0.99]], "reinit": [[0.99, 0.98, 0.97]]},
    )
    assert "0.0 ± 5.0 points: the interval includes zero." in headline(run)[1]


def test_one_seed_says_nothing_about_chance(make_run):
    sentences = headline(RunData.load(make_run(levels=2, seeds=(0,))))
    assert "one seed, so nothing is said about chance" in sentences[-2]
    assert sentences[-1] == "One seed: there is no interval."
    assert "±" not in sentences[0]


def test_an_interrupted_run_compares_the_last_level_that_every_arm_reached(make_run):
    run = RunData.load(make_run(status="interrupted", seeds=(0,), levels=4, stop_after=5))
    sentences = headline(run)
    assert sentences[0].startswith("At 50.0% of the weights")
    assert sentences[-1] == (
        "The run is interrupted with 5 networks trained; the numbers may still change."
    )


def test_training(make_train):
    sentences = headline(RunData.load(make_train(test_examples=500)))
    assert sentences[0].startswith("With 10.0% of the weights awake the network reaches 98.0 ± ")


def test_nothing_yet(make_run):
    run = RunData.load(make_run(status="running", stop_after=0))
    assert headline(run) == ("No network has been trained to the end yet.",)


def test_no_accuracy_at_all(make_run, make_train):
    for path in (make_run(levels=1), make_train()):
        run = RunData.load(path)
        blank = replace(run, results=tuple(replace(r, test_accuracy=None) for r in run.results))
        text = headline(blank)[0]
        assert "No network has a test accuracy" in text or "an unknown accuracy" in text


def three_arms(make_run, mask):
    run = RunData.load(
        make_run(levels=1, arms=("ticket", "reinit", "random_mask"), test_examples=500)
    )
    table = {"ticket": [[0.97, 0.98, 0.99]], "reinit": [[0.95, 0.96, 0.97]], "random_mask": [mask]}
    return headline(given(run, table))


def test_all_differences_stand_in_one_sentence(make_run):
    start = (
        "Seed by seed at 100%, ticket minus random re-initialisation is +2.0 ± 0.0 points, "
        "minus random mask "
    )
    assert three_arms(make_run, [0.93, 0.94, 0.95])[1] == (
        f"{start}+4.0 ± 0.0: every interval leaves out zero."
    )
    assert three_arms(make_run, [0.99, 0.98, 0.97])[1] == (
        f"{start}0.0 ± 5.0: the interval of random mask includes zero."
    )


def test_one_seed_is_never_said_to_be_measurably_anything(make_run):
    sentences = headline(RunData.load(make_run(levels=4, seeds=(0,))))
    assert not any("measurably" in sentence for sentence in sentences)
