"""Under an Ignite trainer: events, filters, state attributes, metrics, triggers, runs, detach."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.engine.events import State
from ignite.handlers import ProgressBar
from torch import optim
from torch.nn.functional import mse_loss

from saliency import Gradient, Magnitude
from schedules import every, on, once, plateau, when
from sleepengine import (
    Freeze,
    Reset,
    Rewind,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    SleepEvents,
    Sparsity,
    Thaw,
    Wake,
    Who,
    by,
    count,
    on_event,
    to,
)

EVERY_KIND = [
    Rule(once("1it"), Who(Magnitude(), amount=count(4)), Sleep(), name="sleep"),
    Rule(once("2it"), Who(Magnitude(), amount=count(1)), Wake(), name="wake"),
    Rule(once("3it"), Who(Magnitude(), amount=count(2)), Freeze(), name="freeze"),
    Rule(once("4it"), Who(Magnitude(), amount=count(1)), Thaw(), name="thaw"),
    Rule(once("5it"), Who(Magnitude(), amount=count(2)), Reset(), name="reset"),
    Rule(once("6it"), None, Rewind(to="2it"), name="rewind"),
]


@pytest.fixture
def rig(net):
    """A trainer with an engine that has these rules."""

    def build(*rules, attach=True, **options):
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        engine = SleepEngine(model, optimizer, rules, **options)
        trainer = create_supervised_trainer(model, optimizer, mse_loss)
        if attach:
            engine.attach(trainer)
        return trainer, engine

    return build


@pytest.fixture
def data(batch):
    return [batch(i) for i in range(4)]


def steps_and_counts(engine):
    return [(record.step, record.changed) for record in engine.journal]


# --- events ---------------------------------------------------------------------------------


def test_every_kind_of_event_is_fired_when_it_happens(rig, data):
    trainer, _ = rig(*EVERY_KIND)
    seen = []
    for event in SleepEvents:
        trainer.add_event_handler(
            event, lambda t, event=event: seen.append((event.name, t.state.iteration))
        )
    trainer.run(data, max_epochs=2)
    assert seen == [
        ("SLEPT", 1),
        ("WOKE", 2),
        ("FROZE", 3),
        ("THAWED", 4),
        ("RESET", 5),
        ("REWOUND", 6),
    ]


def test_filters_and_combinations_of_events(rig, data):
    trainer, _ = rig(Rule(every("1it"), Who(Magnitude(), amount=count(2)), Sleep()))
    seen = []
    note = lambda t, tag: seen.append((tag, t.state.iteration))  # noqa: E731
    trainer.add_event_handler(SleepEvents.SLEPT(every=2), note, "every")
    trainer.add_event_handler(SleepEvents.SLEPT(once=3), note, "once")
    trainer.add_event_handler(SleepEvents.WOKE | SleepEvents.SLEPT(after=3), note, "list")
    trainer.run(data, max_epochs=1)
    assert seen == [("every", 2), ("once", 3), ("every", 4), ("list", 4)]
    assert (trainer.state.sleep_slept, trainer.state.sleep_woke) == (4, 0)


def test_an_event_tells_its_news(rig, data):
    trainer, _ = rig(Rule(once("2it"), Who(Magnitude(), amount=count(3)), Sleep(), name="gone"))
    news = []
    trainer.add_event_handler(SleepEvents.SLEPT, lambda t: news.append(t.state.sleep_news))
    trainer.run(data, max_epochs=1)
    (one,) = news
    assert (one.step, one.changes.slept.count(), one.records[0].rule) == (2, 3, "gone")


def test_plain_handlers_by_name(rig, data):
    trainer, engine = rig(*EVERY_KIND)
    seen = []
    engine.on("SLEPT", lambda news: seen.append(news.step))
    engine.on("REWOUND", lambda news: seen.append(news.step))
    trainer.run(data, max_epochs=2)
    assert seen == [1, 6]


def test_direct_calls_and_masks_from_outside_are_events_too(rig):
    _, engine = rig()
    seen = []
    for kind in ("SLEPT", "WOKE", "FROZE", "THAWED"):
        engine.on(kind, lambda news: seen.append(news.happening.name))
    engine.sleep_weights("0", (0, 0))
    engine.freeze_weights("2", (0, 0))
    engine.set_masks({"0.weight": torch.ones(6, 5, dtype=torch.bool)})
    engine.thaw_weights("2")
    assert seen == ["SLEPT", "FROZE", "WOKE", "THAWED"]


def test_a_rule_that_did_nothing_is_no_event(rig, data):
    trainer, _ = rig(Rule(every("1it"), Who(Magnitude(), amount=to(0.25)), Sleep()))
    seen = []
    trainer.add_event_handler(SleepEvents.SLEPT, lambda t: seen.append(t.state.iteration))
    trainer.run(data, max_epochs=1)
    assert seen == [1]


def test_two_trainers_with_events_do_not_disturb_each_other(rig, data):
    one, _ = rig(Rule(once("1it"), Who(Magnitude(), amount=count(2)), Sleep()))
    two, _ = rig(Rule(once("2it"), Who(Magnitude(), amount=count(2)), Sleep()))
    for trainer in (one, two):
        trainer.run(data, max_epochs=1)
    assert one.state.sleep_slept == two.state.sleep_slept == 1


# --- state, metrics ---------------------------------------------------------------------------


def test_state_attributes_follow_the_masks(rig, data):
    trainer, engine = rig(Rule(every("1it"), Who(Magnitude(), amount=count(6)), Sleep()))
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda t: seen.append((t.state.sleep_fraction, t.state.sleep_asleep, t.state.sleep_awake)),
    )
    trainer.add_event_handler(
        Events.COMPLETED, lambda _: engine.freeze_weights("2", (0, slice(None)))
    )
    trainer.run(data, max_epochs=1)
    assert seen == [(0.125, 6, 42), (0.25, 12, 36), (0.375, 18, 30), (0.5, 24, 24)]
    assert trainer.state.sleep_frozen == 6


def test_progress_bar_shows_state_attributes(rig, data, capsys):
    trainer, _ = rig(Rule(once("1it"), Who(Magnitude(), amount=to(0.25)), Sleep()))
    bar = ProgressBar(persist=True, ncols=120)
    bar.attach(trainer, state_attributes=["sleep_fraction", "sleep_asleep"])
    trainer.run(data, max_epochs=1)
    assert "sleep_fraction=0.25, sleep_asleep=12" in capsys.readouterr().err


def test_sparsity_is_a_metric(rig, data, net, batch):
    trainer, engine = rig(Rule(once("1it"), Who(Magnitude(), amount=to(0.25)), Sleep()))
    Sparsity(engine).attach(trainer, "sparsity")
    Sparsity(engine, "2").attach(trainer, "sparsity of 2")
    trainer.run(data, max_epochs=1)
    state = engine.get_sleep_state("2")
    assert trainer.state.metrics == {
        "sparsity": 0.25,
        "sparsity of 2": state.asleep / 18,
    }


# --- triggers ---------------------------------------------------------------------------------


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


# --- runs -------------------------------------------------------------------------------------


def test_a_second_run_starts_the_clock_again_and_keeps_the_masks(rig, data):
    trainer, engine = rig(Rule(once("2it"), Who(Magnitude(), amount=count(3)), Sleep()))
    trainer.run(data, max_epochs=1)
    trainer.run(data, max_epochs=1)
    assert steps_and_counts(engine) == [(2, 3), (2, 3)]
    assert engine.store.asleep_count() == 6
    assert engine.time.iteration == 4


def test_a_continued_run_continues_the_clock(rig, data):
    trainer, engine = rig(Rule(every("3it"), Who(Magnitude(), amount=count(1)), Sleep()))
    trainer.run(data, max_epochs=1)
    trainer.run(data, max_epochs=3)
    assert [record.step for record in engine.journal] == [3, 6, 9, 12]


def test_an_early_stop_is_no_error(rig, data):
    rule = Rule(once("2ep"), Who(Magnitude(), amount=count(1)), Sleep())
    trainer, engine = rig(rule)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda t: t.terminate())
    trainer.run(data, max_epochs=3)
    assert engine.time.iteration == 2


def test_an_interrupted_run_resumes(rig, data, monkeypatch):
    monkeypatch.setattr(Engine, "interrupt_resume_enabled", True)
    trainer, engine = rig(Rule(every("2it"), Who(Magnitude(), amount=count(1)), Sleep()))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda t: t.interrupt())
    trainer.run(data, max_epochs=2)
    assert engine.time.iteration == 3
    trainer.run(data, max_epochs=2)
    assert [record.step for record in engine.journal] == [2, 4, 6, 8]


def test_percent_and_epochs_come_from_the_trainer(rig, data):
    trainer, engine = rig(
        Rule(once("50%"), Who(Magnitude(), amount=count(1)), Sleep()),
        Rule(once("1ep1it"), Who(Magnitude(), amount=count(1)), Sleep(), name="second"),
    )
    trainer.run(data, max_epochs=3)
    assert [(r.step, r.rule) for r in engine.journal] == [(5, "second"), (6, "Sleep-Magnitude")]


def test_max_iters(rig, data):
    trainer, engine = rig(Rule(once("50%"), Who(Magnitude(), amount=count(1)), Sleep()))
    trainer.run(data, max_iters=6)
    assert [record.step for record in engine.journal] == [3]


# --- detach -----------------------------------------------------------------------------------


def test_detach_leaves_nothing(rig, data, net):
    trainer, engine = rig(*EVERY_KIND, attach=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: None)
    handlers = {event: list(h) for event, h in trainer._event_handlers.items() if h}
    attributes = dict(vars(trainer.state))
    assert all_hooks(engine) == []
    engine.attach(trainer)
    assert len(all_hooks(engine)) == 4
    trainer.run(data, max_epochs=2)
    engine.freeze_weights("0", (0, 0))
    assert len(all_hooks(engine)) == 6
    engine.detach()
    assert {event: h for event, h in trainer._event_handlers.items() if h} == handlers
    assert vars(trainer.state).keys() == attributes.keys()
    assert all_hooks(engine) == []
    assert engine.firing.handlers == []


def all_hooks(engine):
    found = []
    for parameter in engine.model.parameters():
        found += list((parameter._post_accumulate_grad_hooks or {}).values())
        found += list((parameter._backward_hooks or {}).values())
    for optimizer in engine.live.optimizers:
        for name in (
            "_optimizer_step_pre_hooks",
            "_optimizer_step_post_hooks",
            "_optimizer_state_dict_pre_hooks",
            "_optimizer_state_dict_post_hooks",
            "_optimizer_load_state_dict_pre_hooks",
            "_optimizer_load_state_dict_post_hooks",
        ):
            found += list(getattr(optimizer, name).values())
    for module in engine.model.modules():
        found += list(module._forward_hooks.values()) + list(module._forward_pre_hooks.values())
    return found


def test_attach_again_after_detach(rig, data):
    trainer, engine = rig(Rule(every("2it"), Who(Magnitude(), amount=count(1)), Sleep()))
    trainer.run(data, max_epochs=1)
    engine.detach()
    engine.attach(trainer)
    trainer.run(data, max_epochs=2)
    assert [record.step for record in engine.journal] == [2, 4, 6, 8]
    assert State.event_to_attr[SleepEvents.SLEPT] == "sleep_slept"


def test_a_second_engine_on_one_trainer_is_refused(rig, net):
    trainer, _ = rig()
    model = net(1)
    other = SleepEngine(model, optim.SGD(model.parameters(), 0.1))
    with pytest.raises(SetupError, match="another engine is attached"):
        other.attach(trainer)
    assert not other.attached


def test_by_share_of_what_is_left(rig, data):
    """48, then 20 % of the awake at the end of each epoch: 10, 8, 6."""
    trainer, engine = rig(
        Rule(on_event(Events.EPOCH_COMPLETED), Who(Magnitude(), amount=by(0.2)), Sleep())
    )
    trainer.run(data, max_epochs=3)
    assert steps_and_counts(engine) == [(4, 10), (8, 8), (12, 6)]
