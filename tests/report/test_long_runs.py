"""A report stays small however long the run was."""

from dataclasses import replace

import pytest

from sleepengine.report.curve_charts import training_charts
from sleepengine.report.layer_charts import layers_chart
from sleepengine.report.page import render_page
from sleepengine.report.run_data import RunData

MOST_BYTES = 600_000  # of a page; every point drawn would be more than twice that


def stretched(run: RunData, points: int) -> RunData:
    """The same run with `points` evaluations of each network, each with a number of its own."""
    first = {}
    for point in run.curves:
        first.setdefault((point.arm, point.seed, point.level), point)
    curves = tuple(
        replace(
            point,
            step=step,
            train_loss=(step * 7919 % 1009) / 1009,
            valid_loss=(step * 7907 % 1013) / 1013,
            valid_accuracy=(step * 7901 % 1019) / 1019,
            layers={
                name: (step * 7919 + i * 331) % 1009 / 1009 for i, name in enumerate(point.layers)
            },
        )
        for point in first.values()
        for step in range(points)
    )
    return replace(run, curves=curves)


def test_many_levels_and_arms(make_run):
    arms = ("ticket", "random_reinit", "random_mask", "other")
    run = RunData.load(make_run(levels=16, arms=arms, seeds=(0, 1), masks=True))
    assert len(render_page(stretched(run, 100)).encode()) < MOST_BYTES


def test_many_evaluations_and_layers(make_train):
    names = tuple(f"blocks.{i}.attention.weight" for i in range(60))
    run = RunData.load(make_train(seeds=(0, 1, 2), tensors=names, masks=True))
    assert len(render_page(stretched(run, 2000)).encode()) < MOST_BYTES


def test_both_ends_of_a_long_curve_are_drawn(make_train):
    run = stretched(RunData.load(make_train(seeds=(0,))), 5000)
    for plot in (*training_charts(run), layers_chart(run)):
        for line in plot.figure.axes[0].get_lines():
            steps = list(line.get_xdata())
            assert (steps[0], steps[-1]) == (0, 4999)
            assert len(steps) <= 600


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_actions_stand_at_their_own_step(make_train, seeds):
    # Evaluated at 0 and 800 alone; half of all weights fell asleep at step 300.
    run = RunData.load(make_train(seeds=seeds))
    ends = tuple(
        replace(point, awake=1.0 - 0.5 * (point.step > 0))
        for point in run.curves
        if point.step in (0, 800)
    )
    acted = tuple(replace(line, step=300, fraction=0.5) for line in run.journal if line.step == 200)
    from sleepengine.report.series import awake_series

    series = awake_series(replace(run, curves=ends, journal=acted), "train", 0)
    assert (series.x, series.mean) == ((0, 300, 800), (1.0, 0.5, 0.5))
