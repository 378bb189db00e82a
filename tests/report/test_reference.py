"""The dense arm: one network per seed, shown at every level."""

import math
from dataclasses import replace

import pytest

from sleepengine.report.charts import accuracy_chart, compare_chart, speed_chart
from sleepengine.report.curve_charts import learning_charts
from sleepengine.report.headline import headline
from sleepengine.report.layer_charts import bars_chart, layers_chart
from sleepengine.report.page import render_page
from sleepengine.report.rows import (
    arms,
    awake_share,
    compare_rows,
    compared,
    level_rows,
    reference,
)
from sleepengine.report.run_data import RunData
from sleepengine.report.tables import lottery_cells, reference_text

# Accuracy by arm and level; seed 1 has one point more than seed 0.
TICKET = [0.97, 0.98, 0.95]
MASK = [None, 0.96, 0.90]


def tickets(make_run, names=("ticket", "random_mask", "dense"), *, dense_lines=True, **fields):
    """A run as the pipeline writes it: controls from level 1, the dense arm at level 0 alone."""
    made = ("ticket", "random_mask", "dense") if dense_lines else ("ticket", "random_mask")
    made = tuple(arm for arm in made if arm in (*names, "ticket"))
    run = RunData.load(make_run(arms=made, levels=3, seeds=(0, 1), test_examples=500, **fields))

    def kept(line) -> bool:
        return line.level == 0 if line.arm == "dense" else line.arm == "ticket" or line.level > 0

    def accuracy(arm: str, level: int, seed: int) -> float:
        value = {"ticket": TICKET, "random_mask": MASK, "dense": TICKET}[arm][level]
        return value + 0.01 * seed

    results = tuple(
        replace(line, test_accuracy=accuracy(line.arm, line.level, line.seed))
        for line in run.results
        if kept(line)
    )
    curves = tuple(line for line in run.curves if line.arm != "dense" and kept(line))
    meta = replace(run.meta, arms=names)
    return replace(run, meta=meta, results=results, curves=curves)


def test_the_dense_arm_has_its_one_value_at_every_level(make_run):
    run = tickets(make_run)
    assert (reference(run), compared(run)) == ("dense", ("ticket", "random_mask"))
    rows = level_rows(run)
    assert [row.cells["dense"].mean for row in rows] == pytest.approx([0.975] * 3)
    assert [row.differences["dense"].mean for row in rows] == pytest.approx([0.0, 0.01, -0.02])
    assert [row.awake for row in rows] == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("names", [("dense", "ticket"), ("ticket", "dense")])
def test_the_dense_arm_is_held_against_wherever_it_is_named(make_run, names):
    run = tickets(make_run, names)
    assert lottery_cells(run) == (
        ("weights left", "ticket", "ticket − dense network"),
        ("100%", "97.5 ± 6.4", "0.0 ± 0.0"),
        ("50.0%", "98.5 ± 6.4", "+1.0 ± 0.0"),
        ("25.0%", "95.5 ± 6.4", "−2.0 ± 0.0"),
    )
    assert reference_text(run) == "dense network, all weights: 97.5 ± 6.4"


def test_without_lines_of_its_own_it_is_the_first_level_of_the_ticket(make_run):
    with_lines, without = tickets(make_run), tickets(make_run, dense_lines=False)
    assert all(line.arm != "dense" for line in without.results)
    assert level_rows(without) == level_rows(with_lines)
    assert arms(without) == ("ticket", "random_mask", "dense")
    assert compare_rows([without]) == compare_rows([with_lines])


def test_an_arm_that_is_not_asked_for_is_no_reference(make_run):
    run = tickets(make_run, ("ticket", "random_mask"), dense_lines=False)
    assert reference(run) is None
    assert reference_text(run) == ""


def test_a_dense_arm_trained_at_every_level_is_an_arm_like_others(make_run):
    run = RunData.load(make_run(arms=("ticket", "dense"), levels=3))
    assert reference(run) is None
    assert compared(run) == ("ticket", "dense")


@pytest.mark.parametrize("names", [("dense", "ticket"), ("ticket", "dense")])
def test_the_headline_speaks_of_the_sparsest_level(make_run, names):
    assert headline(tickets(make_run, names))[:3] == (
        "At 25.0% of the weights the ticket reaches 95.5 ± 6.4%; the dense network reaches "
        "97.5 ± 6.4%.",
        "Down to 50.0% of the weights the ticket is not measurably worse than the whole network "
        "(98.5 ± 6.4%).",
        "Seed by seed at 25.0%, ticket minus dense network is −2.0 ± 0.0 points: the interval "
        "leaves out zero.",
    )


def test_it_is_a_line_from_side_to_side(make_run):
    for chart in (accuracy_chart, speed_chart):
        axes = chart(tickets(make_run)).figure.axes[0]
        flat = [line for line in axes.get_lines() if list(line.get_xdata()) == [0, 1]]
        assert len(flat) == 1
        assert len(axes.get_lines()) == 3
    plot = accuracy_chart(tickets(make_run))
    assert plot.figure.axes[0].get_lines()[2].get_ydata() == pytest.approx([0.975, 0.975])
    assert plot.figure.legends[0].get_texts()[2].get_text() == "dense network"
    assert "dense network: 97.5% throughout" in plot.alt
    assert len(compare_chart([tickets(make_run)] * 2).figure.axes[0].get_lines()) == 6


def test_it_has_no_panel_of_its_own_but_a_line_in_those_of_the_controls(make_run):
    plots = learning_charts(tickets(make_run))
    texts = [[t.get_text() for t in plot.figure.legends[0].get_texts()] for plot in plots]
    assert texts == [
        ["100% left", "50.0% left", "25.0% left"],
        ["50.0% left", "25.0% left", "dense network"],
    ]


def test_layers_are_those_of_the_ticket(make_run):
    run = tickets(make_run, ("dense", "ticket"))
    for chart in (layers_chart, bars_chart):
        assert chart(run).caption.startswith("Means over the seeds of ticket.")
        assert "25.0%" in chart(run).alt


def test_the_page_gives_the_reference_with_the_table(make_run):
    assert "Dense network, all weights: 97.5\u00a0±\u00a06.4." in render_page(tickets(make_run))


def test_shares_of_arms_that_differ_are_not_averaged(make_run):
    run = tickets(make_run)
    thinner = tuple(
        replace(line, awake=0.1) if (line.arm, line.level) == ("random_mask", 2) else line
        for line in run.results
    )
    run = replace(run, results=thinner)
    assert awake_share(run, "ticket", 2) == 0.25
    assert awake_share(run, "random_mask", 2) == pytest.approx(0.1)
    assert math.isnan(awake_share(run, "random_mask", 0))
    assert lottery_cells(run)[3][:3] == ("25.0%", "95.5 ± 6.4", "90.5 ± 6.4 at 10.0%")
    assert "random mask 90.5 ± 6.4% (at 10.0%);" in headline(run)[0]
    mask = accuracy_chart(run).figure.axes[0].get_lines()[1]
    assert list(mask.get_xdata()) == pytest.approx([0.5, 0.1])
