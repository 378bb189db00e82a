from dataclasses import replace

import pytest

from sleepengine.report.charts import (
    accuracy_chart,
    compare_chart,
    speed_chart,
    ticks,
)
from sleepengine.report.curve_charts import learning_charts, training_charts
from sleepengine.report.layer_charts import bars_chart, layers_chart, sparsity_chart
from sleepengine.report.records import TensorChange
from sleepengine.report.run_data import RunData
from sleepengine.report.series import average, final_layers, thin_out


def lines_of(plot, panel=0):
    """What was drawn: the x and y of every line of a panel."""
    return [
        (line.get_xdata().tolist(), line.get_ydata().tolist())
        if hasattr(line.get_xdata(), "tolist")
        else (list(line.get_xdata()), list(line.get_ydata()))
        for line in plot.figure.axes[panel].get_lines()
    ]


def test_accuracy_is_drawn_against_weights_left_on_a_falling_log_axis(make_run):
    plot = accuracy_chart(RunData.load(make_run(levels=3)))
    axes = plot.figure.axes[0]
    (x, y), (x2, _) = lines_of(plot)
    assert x == x2 == [1.0, 0.5, 0.25]
    assert y[0] > y[2] > 0.97
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert plot.figure.legends[0].get_texts()[1].get_text() == "random re-initialisation"
    assert "ticket: 98.0% at 100%, 97.7% at 25.0%" in plot.alt


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.99, 1.0], [1.0, 0.99]),
        ([0.1, 0.105, 0.9, 1.0], [1.0, 0.1]),
        ([0.8**k for k in range(20, -1, -1)], [0.8**k for k in (0, 3, 6, 9, 12, 15, 20)]),
    ],
)
def test_ticks_keep_both_ends_and_leave_room(places, expected):
    assert ticks(places) == pytest.approx(expected)


def test_the_band_is_the_interval(make_run):
    from sleepengine.report.rows import level_rows

    run = RunData.load(make_run(levels=2))
    interval = level_rows(run)[1].cells["ticket"]
    band = accuracy_chart(run).figure.axes[0].collections[0].get_paths()[0].vertices
    heights = sorted({round(y, 12) for x, y in band if x == 0.5})
    assert heights == [round(interval.low, 12), round(interval.high, 12)]


def test_speed_counts_steps(make_run):
    plot = speed_chart(RunData.load(make_run(levels=3)))
    assert lines_of(plot)[0][1] == [600.0, 580.0, 560.0]


def test_learning_curves_one_chart_per_arm_on_one_scale(make_run):
    plots = learning_charts(RunData.load(make_run(levels=3)))
    assert [plot.name for plot in plots] == ["learning0", "learning1"]
    assert len(lines_of(plots[0])) == 3
    assert plots[0].figure.axes[0].get_ylim() == plots[1].figure.axes[0].get_ylim()


def test_training_shows_each_seed_and_the_mean(make_train):
    loss, accuracy = training_charts(RunData.load(make_train(seeds=(0, 1))))
    assert [len(lines_of(plot)) for plot in (loss, accuracy)] == [6, 3]
    assert lines_of(loss)[0][0] == [200, 400, 600, 800]
    assert training_charts(RunData.load(make_train(seeds=(0,))))[0].caption == "One seed."


def test_layers_over_levels_and_over_steps(make_run, make_train):
    lottery = layers_chart(RunData.load(make_run(levels=3)))
    assert lines_of(lottery)[0] == ([0, 1, 2], [1.0, 0.5, 0.25])
    assert lottery.figure.axes[0].get_yscale() == "log"
    train = layers_chart(RunData.load(make_train()))
    assert lines_of(train)[0][0] == [0, 200, 400, 600, 800]
    assert train.figure.axes[0].get_yscale() == "linear"


def test_many_layers_name_the_extremes(make_run):
    names = tuple(f"layer{i}.weight" for i in range(20))
    plot = layers_chart(RunData.load(make_run(levels=2, seeds=(0,), tensors=names)))
    shown = [text.get_text() for text in plot.figure.legends[0].get_texts()]
    assert shown == [f"layer{i}.weight" for i in (0, 1, 2, 16, 17, 18, 19)]
    assert "13 in grey" in plot.caption


def test_a_layer_that_dies_does_not_break_the_logarithm(make_run):
    run = RunData.load(make_run(levels=2))
    dead = tuple(replace(p, layers={"a": 0.0, "b": 0.5}) for p in run.curves)
    assert "a 0%" in layers_chart(replace(run, curves=dead)).alt
    layers_chart(replace(run, curves=dead)).svg()


def test_bars_have_one_group_per_level(make_run):
    plot = bars_chart(RunData.load(make_run(levels=3)))
    heights = [[bar.get_height() for bar in group] for group in plot.figure.axes[0].containers]
    assert heights[0] == [1.0, 0.5, 0.25]
    assert heights[1] == pytest.approx([1.0, 0.5**0.5, 0.5])


def test_sparsity_and_the_actions(make_train):
    plot = sparsity_chart(RunData.load(make_train()))
    (_, asleep), (marks, _) = lines_of(plot)
    assert asleep == pytest.approx([0.0, 0.225, 0.45, 0.675, 0.9])
    assert marks == [200, 400, 600, 800]
    assert "at the end 90.0%; 4 actions" in plot.alt


def test_compare_draws_a_line_per_run_and_arm(make_run, make_train):
    runs = [RunData.load(make_run(levels=2)), RunData.load(make_train())]
    assert len(lines_of(compare_chart(runs))) == 3


def test_every_chart_survives_a_run_without_numbers(make_run, make_train):
    for path in (make_run(levels=2), make_train()):
        run = RunData.load(path)
        nan = float("nan")
        results = tuple(replace(r, test_accuracy=nan, best_valid_step=None) for r in run.results)
        curves = tuple(
            replace(p, valid_accuracy=nan, train_loss=None, valid_loss=nan) for p in run.curves
        )
        sick = replace(run, results=results, curves=curves)
        empty = replace(run, results=(), curves=(), journal=())
        for one in (sick, empty):
            plots = [accuracy_chart(one), speed_chart(one), layers_chart(one), bars_chart(one)]
            plots += [*learning_charts(one), *training_charts(one), sparsity_chart(one)]
            assert all(plot.svg() for plot in plots)


def test_the_mean_stops_where_the_first_seed_stops():
    series = average([(0, 10, 1.0), (0, 20, 2.0), (1, 10, 3.0), (1, 20, 4.0), (1, 30, 9.0)])
    assert (series.x, series.mean) == ((10, 20), (2.0, 3.0))


def test_final_layers_average_the_last_evaluation_of_each_seed(make_train):
    run = RunData.load(make_train(seeds=(0, 1)))
    assert final_layers(run, "train", 0)["fc1.weight"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("n", "most", "expected"),
    [(3, 5, (0, 1, 2)), (6, 2, (0, 5)), (9, 5, (0, 2, 4, 6, 8)), (0, 3, ())],
)
def test_thin_out_keeps_both_ends(n, most, expected):
    assert thin_out(tuple(range(n)), most) == expected


def test_layers_that_sleep_alike_are_all_seen(make_train):
    run = RunData.load(make_train(tensors=("a", "b", "c", "d"), seeds=(0,)))
    alike = tuple(
        replace(p, layers={"a": p.awake, "b": p.awake, "c": p.awake, "d": 0.9}) for p in run.curves
    )
    # An action at step 300 says of layer c alone what it was at step 200 already.
    change = TensorChange(changed=0, asleep=225, frozen=0, total=1000)
    acted = replace(run.journal[0], step=300, fraction=0.225, tensors={"c": change})
    run = replace(run, curves=alike, journal=(acted,))
    lines = layers_chart(run).figure.axes[0].get_lines()
    assert [len(line.get_xdata()) for line in lines] == [5, 5, 6, 5]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "--", "-"]
    assert "stroke-dasharray: 5.1,15.3" in layers_chart(run).svg()
