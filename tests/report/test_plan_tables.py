"""The plan in the terminal, from plans written down by hand."""

import io

import pytest
from rich.console import Console

from sleepengine.pipeline.plan import Plan, PlannedFiring, PlannedTensor
from sleepengine.report.plan_tables import event_table, plan_words, tensor_table


def plan(firings, tensors=(("a.weight", (2, 5)), ("b.weight", (30,))), *, experiment="train"):
    return Plan(
        name="p",
        experiment=experiment,
        model="mlp",
        parameters=1234,
        tensors=tuple(PlannedTensor(n, s, s[0] * (s[1] if s[1:] else 1)) for n, s in tensors),
        networks=1,
        steps_per_epoch=10,
        total_steps=5000,
        firings=tuple(firings),
        spread_is_exact=True,
    )


def fired(step, asleep, rule="Sleep", level=0, **layers):
    shares = {name + ".weight": value for name, value in layers.items()}
    return PlannedFiring(step, level, rule, 0.5, "to(0.5)", asleep, shares)


def printed(table, width=80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_words():
    assert [line.replace("\u202f", " ") for line in plan_words(plan([]))] == [
        "p (train): mlp, 1 234 parameters, 40 may sleep",
        "1 network of 5 000 steps, 10 per epoch",
    ]


def test_parameters_with_counts_and_what_sleeps_at_the_end():
    lines = printed(tensor_table(plan([fired(1, 0.5, a=0.1, b=0.1), fired(2, 0.3, a=0.5, b=0.2)])))
    assert lines[3:] == [
        "1 a.weight 2 × 5 10 5 50.0%",
        "2 b.weight 30 30 6 20.0%",
        "all 40 11 27.5%",
    ]


def test_no_rule_leaves_all_awake():
    assert printed(tensor_table(plan([])))[-1] == "all 40 0 0%"


def test_rules_of_one_step_are_one_event():
    firings = [
        fired(0, 0.5, "Sleep-Random", a=0.5, b=0.5),
        fired(9, 0.4, "Sleep-Magnitude", a=0.4, b=0.4),
        fired(9, 0.4, "Wake-Gradient", a=0.4, b=0.4),
        PlannedFiring(None, 0, "Wake", None, "by(0.25)", None, None),
    ]
    lines = printed(event_table(plan(firings)))
    assert lines[1] == "step rule amount asleep a.weight b.weight"
    assert lines[3:] == [
        "0 Sleep-Random to(0.5) 50.0% 50.0% 50.0%",
        "9 Sleep-Magnitude to(0.5)",
        "Wake-Gradient to(0.5) 40.0% 40.0% 40.0%",
        "later Wake by(0.25) – – –",
        "4 firings in all.",
        '"later": when the rule fires is not known before training.',
    ]


def test_levels_of_a_lottery_are_events():
    firings = [fired(0, 0.2, level=k, a=0.2, b=0.2) for k in (1, 2)]
    lines = printed(event_table(plan(firings, experiment="lottery")))
    assert [line.split()[0] for line in lines[1:5] if line[:1] not in "─"] == ["level", "1", "2"]


@pytest.mark.parametrize(("events", "folded"), [(15, None), (16, "2"), (51, "37")])
def test_many_events_are_folded(events, folded):
    lines = printed(event_table(plan([fired(s, 0.1, a=0.1, b=0.1) for s in range(events)])))
    rows = [line for line in lines if "to(0.5)" in line]
    more = [line for line in lines if line.startswith("…")]
    assert len(rows) == (events if folded is None else 14)
    assert more == ([] if folded is None else [f"… {folded} more events"])
    assert lines[-1] == f"{events} firings in all."


def test_layers_that_do_not_fit_are_numbered_and_the_busiest_kept():
    names = [f"blocks.{i}.attention.weight" for i in range(12)]
    layers = {name: (0.9 if i in (3, 11) else 0.05) for i, name in enumerate(names)}
    firing = PlannedFiring(5, 0, "Sleep-Magnitude", 0.5, "to(0.5)", 0.5, layers)
    table = event_table(plan([firing], [(name, (3, 3)) for name in names]))
    lines = printed(table)
    heads = lines[1].split()[4:]
    assert {"#4", "#12"} <= set(heads)
    assert f"{len(heads)} of 12 layers are shown." in lines
    assert max(map(len, printed(table, 60))) <= 60


def test_many_parameters_are_folded():
    tensors = [(f"layer{i}.weight", (1,)) for i in range(57)]
    lines = printed(tensor_table(plan([], tensors)))
    assert "… 37 more" in lines
    assert len(lines) == 3 + 16 + 1 + 4 + 1


def test_an_experiment_that_makes_its_masks_itself_says_nothing_of_the_end():
    lines = printed(tensor_table(plan([], experiment="supermask")))
    assert lines[1] == "# name shape weights"
    assert lines[3:] == [
        "1 a.weight 2 × 5 10",
        "2 b.weight 30 30",
        "all 40",
        "No rules: the experiment makes its masks itself.",
    ]
