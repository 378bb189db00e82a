from sleepengine.report.schedule_chart import PlannedAction, schedule_chart


def drawn(plot, panel):
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for line in plot.figure.axes[panel].get_lines()
    ]


def test_shares_above_and_a_mark_for_every_firing_below():
    plan = [PlannedAction(s, "prune", s / 1000, {"fc": s / 900}) for s in (300, 450, 900)]
    plan[1:1] = [PlannedAction(300, "reset", 0.3)]
    plot = schedule_chart(plan, end=1000)
    assert drawn(plot, 0) == [
        ([0, 300, 450, 900, 1000], [0.0, 1 / 3, 0.5, 1.0, 1.0]),
        ([0, 300, 450, 900, 1000], [0.0, 0.3, 0.45, 0.9, 0.9]),
    ]
    assert drawn(plot, 1) == [([300, 450, 900], [0, 0, 0]), ([300], [1])]
    names = [text.get_text() for text in plot.figure.axes[1].get_yticklabels()]
    assert names == ["prune", "reset"]
    assert plot.alt == (
        "Planned schedule. prune: 3 times, training step 300 to 900; "
        "reset: once, training step 300 to 300, 90.0% asleep at the end."
    )


def test_a_rule_at_step_0_begins_there():
    assert drawn(schedule_chart([PlannedAction(0, "prune", 0.5)], end=10), 0) == [
        ([0, 10], [0.5, 0.5])
    ]


def test_layers_that_sleep_alike_are_both_seen():
    plan = [PlannedAction(s, "r", 0.5, {"a": 0.5, "b": 0.5, "c": 0.2}) for s in (1, 2)]
    lines = schedule_chart(plan).figure.axes[0].get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-", "-"]


def test_levels_are_counted_as_such_and_many_marks_thinned():
    plot = schedule_chart([PlannedAction(s, "r", None) for s in range(5000)], unit="level")
    assert plot.figure.axes[1].get_xlabel() == "level"
    assert len(drawn(plot, 1)[0][0]) <= 400
    assert len(plot.svg()) < 200_000


def test_an_empty_schedule():
    assert schedule_chart([]).svg()
