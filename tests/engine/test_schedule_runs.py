"""Rules fire in a run exactly when the preview says, in plain loops and under Ignite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ignite.engine import create_supervised_trainer
from torch import nn, optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude
from schedules import after, at, before, every, linear, once, preview
from sleepengine import Freeze, Rule, Sleep, SleepEngine, Who, by, to

TOTAL = 24
TIMES = st.one_of(
    st.integers(0, TOTAL).map(lambda t: f"{t}it"),
    st.integers(0, 4).map(lambda t: f"{t}ep"),
    st.integers(0, 100).map(lambda t: f"{t}%"),
)
SINGLE = st.one_of(
    st.integers(1, 9).map(lambda n: every(f"{n}it")),
    st.tuples(st.integers(1, 9), TIMES).map(lambda a: every(f"{a[0]}it", after=a[1])),
    TIMES.map(once),
    TIMES.map(lambda t: at(t, "7it") if t != "7it" else at(t)),
)
TRIGGERS = st.one_of(
    SINGLE,
    st.tuples(SINGLE, SINGLE).map(lambda two: two[0] | two[1]),
    st.tuples(SINGLE, TIMES).map(lambda two: two[0] & after(two[1])),
    st.tuples(SINGLE, st.integers(1, TOTAL)).map(lambda two: two[0] & ~before(f"{two[1]}it")),
)


def run(rules, steps_per_epoch, ignite, accumulation=1):
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    optimizer = optim.SGD(model.parameters(), 0.01)
    engine = SleepEngine(model, optimizer, rules, check_every=0)
    data = [(torch.ones(2, 3), torch.ones(2, 4))] * steps_per_epoch
    if ignite:
        trainer = create_supervised_trainer(
            model, optimizer, mse_loss, gradient_accumulation_steps=accumulation
        )
        engine.attach(trainer)
        trainer.run(data, max_epochs=TOTAL // steps_per_epoch)
    else:
        engine.attach(steps_per_epoch=steps_per_epoch, total_steps=TOTAL)
        for _ in range(TOTAL):
            x, y = data[0]
            optimizer.zero_grad()
            mse_loss(model(x), y).backward()
            optimizer.step()
    return [(record.step, record.rule) for record in engine.journal]


def expected(rules, steps_per_epoch):
    rows = preview(rules, TOTAL, steps_per_epoch)
    order = [rule.name for rule in rules]
    return sorted(((row.step, row.rule) for row in rows), key=lambda r: (r[0], order.index(r[1])))


@pytest.mark.parametrize("ignite", [False, True])
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(triggers=st.lists(TRIGGERS, min_size=1, max_size=3), epoch=st.sampled_from([4, 6, 8]))
def test_firings_are_those_of_the_preview(ignite, triggers, epoch):
    rules = [
        Rule(trigger, Who(Magnitude(), amount=by(0.0)), Freeze(), name=f"rule {i}")
        for i, trigger in enumerate(triggers)
    ]
    assert run(rules, epoch, ignite) == expected(rules, epoch)


@pytest.mark.parametrize("accumulation", [2, 3])
@settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(trigger=SINGLE)
def test_with_accumulation_gradients_are_there_at_the_step_that_follows(accumulation, trigger):
    """Due in the middle of an accumulation, a rule waits for the step at its end."""
    rule = Rule(trigger, Who(Gradient(), amount=by(0.0)), Freeze(), name="rule")
    due = [step for step, _ in expected([rule], 6)]
    ends = [step for step in range(1, TOTAL + 1) if step % accumulation == 0]
    # At 0 it is the first gradients, before their step: nothing is completed but the ticks before.
    first = [accumulation - 1] if due[:1] == [0] else []
    waited = [min(end for end in ends if end >= step) for step in due if step > 0]
    fired = [step for step, _ in run([rule], 6, True, accumulation)]
    assert fired == first + sorted(set(waited))


@pytest.mark.parametrize("ignite", [False, True])
def test_a_curve_reaches_its_end_at_the_last_firing(ignite):
    torch.manual_seed(0)
    model = nn.Linear(10, 10)
    optimizer = optim.SGD(model.parameters(), 0.01)
    curve = to(linear(0.1, 0.7))
    rule = Rule(every("3it", after="2it", before="15it"), Who(Magnitude(), amount=curve), Sleep())
    engine = SleepEngine(model, optimizer, [rule])
    data = [(torch.ones(2, 10), torch.ones(2, 10))] * 6
    if ignite:
        trainer = create_supervised_trainer(model, optimizer, mse_loss)
        engine.attach(trainer)
        trainer.run(data, max_epochs=4)
    else:
        engine.attach()
        for x, y in data * 4:
            mse_loss(model(x), y).backward()
            optimizer.step()
    rows = preview([rule], TOTAL, 6)
    reached = [(r.step, r.fraction) for r in engine.journal]
    assert [step for step, _ in reached] == [2, 5, 8, 11, 14]
    assert [round(row.target, 10) for row in rows] == [0.1, 0.25, 0.4, 0.55, 0.7]
    assert [fraction for _, fraction in reached] == [0.1, 0.25, 0.4, 0.55, 0.7]
