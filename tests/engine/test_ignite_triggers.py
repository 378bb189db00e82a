"""What triggers rules under Ignite: any event, combinations, metrics, predicates."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from torch import optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude
from schedules import on, once, plateau, when
from sleepengine import (
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    count,
    on_event,
)

from .ignite_rules import steps_and_counts


def fires(rig, data, trigger, epochs=3, **how):
    rule = Rule(trigger, Who(Magnitude(), amount=count(1)), Sleep(), **how)
    trainer, engine = rig(rule)
    trainer.run(data, max_epochs=epochs)
    return [record.step for record in engine.journal]


@pytest.mark.parametrize(
    ("event", "steps"),
    [
        (Events.EPOCH_COMPLETED, [4, 8, 12]),
        (Events.EPOCH_COMPLETED(every=2), [8]),
        (Events.EPOCH_COMPLETED(once=3), [12]),
        (Events.EPOCH_STARTED, [0, 4, 8]),
        (Events.ITERATION_STARTED(every=5), [4, 9]),
        (Events.ITERATION_COMPLETED(every=5), [5, 10]),
        (Events.ITERATION_COMPLETED(event_filter=lambda e, n: n in (3, 7)), [3, 7]),
        (Events.EPOCH_COMPLETED(once=1) | Events.ITERATION_COMPLETED(once=6), [4, 6]),
        (Events.STARTED, [0]),
    ],
    ids=[
        "epoch_completed",
        "every_2_epochs",
        "epoch_3",
        "epoch_started",
        "iteration_started_every_5",
        "every_5_iterations",
        "filter",
        "one_of_two",
        "started",
    ],
)
def test_any_ignite_event_is_a_trigger(event, steps, rig, data):
    assert fires(rig, data, on_event(event)) == steps


def test_an_event_combines_with_times(rig, data):
    from schedules import after, before

    event = on_event(Events.EPOCH_COMPLETED)
    assert fires(rig, data, event & after("8it")) == [8, 12]
    assert fires(rig, data, event & ~before("2ep")) == [8, 12]
    assert fires(rig, data, event | once("3it")) == [3, 4, 8, 12]


def test_an_event_that_needs_gradients_waits_for_the_next_backward(rig, data):
    rule = Rule(on_event(Events.EPOCH_COMPLETED(once=1)), Who(Gradient(), amount=count(1)), Sleep())
    trainer, engine = rig(rule)
    trainer.run(data, max_epochs=2)
    assert [record.step for record in engine.journal] == [5]


def test_a_custom_event_of_the_users_process_function(net, batch):
    from ignite.engine import EventEnum

    class Mine(EventEnum):
        BACKWARD = "backward"

    model = net()
    optimizer = optim.SGD(model.parameters(), 0.1)

    def process(trainer, data):
        optimizer.zero_grad()
        mse_loss(model(data[0]), data[1]).backward()
        trainer.fire_event(Mine.BACKWARD)
        optimizer.step()

    trainer = Engine(process)
    trainer.register_events(*Mine)
    rule = Rule(on_event(Mine.BACKWARD), Who(Magnitude(), amount=count(2)), Sleep())
    engine = SleepEngine(model, optimizer, [rule]).attach(trainer)
    trainer.run([batch(i) for i in range(3)], max_epochs=1)
    assert engine.store.asleep_count() == 6
    engine.check()


def test_a_gradient_asked_for_between_backward_and_step_is_that_of_the_next(net, batch):
    """A backward pass that was not watched from its start would lack the masked part."""
    from ignite.engine import EventEnum

    class Mine(EventEnum):
        BACKWARD = "backward"

    model = net()
    optimizer = optim.SGD(model.parameters(), 0.0)
    dense = []

    def process(trainer, data):
        optimizer.zero_grad()
        x, y = data
        loss = mse_loss(model(x), y)
        dense.append(torch.autograd.grad(loss, model[0].weight, retain_graph=True)[0])
        loss.backward()
        if trainer.state.iteration == 2:
            trainer.fire_event(Mine.BACKWARD)
        optimizer.step()

    trainer = Engine(process)
    trainer.register_events(*Mine)
    who = Who(Gradient(), amount=count(1), params="0")
    engine = SleepEngine(model, optimizer, [Rule(on_event(Mine.BACKWARD), who, Wake())])
    engine.sleep_weights("0")
    engine.attach(trainer)
    trainer.run([batch(i) for i in range(4)], max_epochs=1)
    (record,) = engine.journal[-1:]
    woken = engine.get_sleep_state("0").awake.flatten().nonzero().item()
    assert (record.step, woken) == (3, int(dense[2].abs().argmax()))


def test_events_of_another_engine(rig, data):
    evaluator = Engine(lambda e, b: None)
    trigger = on_event(Events.COMPLETED, evaluator)
    trainer, engine = rig(Rule(trigger, Who(Magnitude(), amount=count(1)), Sleep()))
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda _: evaluator.run([0]))
    trainer.run(data, max_epochs=4)
    assert [record.step for record in engine.journal] == [8, 16]


def test_a_plateau_of_a_metric_that_the_user_tells(rig, data):
    rule = Rule(plateau("loss", patience=2), Who(Magnitude(), amount=count(1)), Sleep())
    trainer, engine = rig(rule)
    losses = iter([1.0, 0.5, 0.6, 0.55, 0.4, 0.3])
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: engine.metric("loss", next(losses)))
    trainer.run(data, max_epochs=6)
    assert [record.step for record in engine.journal] == [16]


def test_a_predicate_fires_once_at_its_iteration_whatever_else_happens(rig, data):
    """Other events at the same iteration must not make it fire again."""
    rules = [
        Rule(when(lambda clock: clock.iteration == 4), Who(None, amount=count(1)), Sleep()),
        Rule(on_event(Events.EPOCH_COMPLETED), Who(None, amount=count(1)), Sleep(), name="event"),
        Rule(plateau("loss", patience=1), Who(None, amount=count(1)), Sleep(), name="plateau"),
    ]
    trainer, engine = rig(*rules)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: engine.metric("loss", 1.0))
    trainer.run(data, max_epochs=3)
    assert [(r.step, r.rule) for r in engine.journal] == [
        (4, "Sleep"),
        (4, "event"),
        (8, "event"),
        (8, "plateau"),
        (12, "event"),
    ]


def test_a_named_outside_event_needs_no_ignite(row, push):
    layer = row(1.0, 2.0, 3.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    rule = Rule(on("task_end"), Who(Magnitude(), amount=count(1)), Sleep())
    engine = SleepEngine(layer, optimizer, [rule])
    with engine.attach():
        engine.happened("another")
        assert engine.store.asleep_count() == 0
        engine.happened("task_end")
        assert layer.weight.tolist() == [[0.0, 2.0, 3.0]]
    other = Rule(on_event(Events.EPOCH_COMPLETED), Who(Magnitude(), amount=count(1)), Sleep())
    with pytest.raises(SetupError, match="waits for an Ignite event"):
        SleepEngine(layer, optimizer, [other]).attach()


def test_a_named_outside_event_under_a_trainer(rig, data):
    rule = Rule(on("task_end"), Who(Magnitude(), amount=count(2)), Sleep())
    trainer, engine = rig(rule)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda _: engine.happened("task_end"))
    trainer.run(data, max_epochs=3)
    assert steps_and_counts(engine) == [(8, 2)]
