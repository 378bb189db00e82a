"""Under an Ignite trainer: events, filters, state attributes, metrics, triggers, runs, detach."""

from __future__ import annotations

import torch
from ignite.engine import Events
from ignite.handlers import ProgressBar

from saliency import Magnitude
from schedules import every, once
from sleepengine import (
    Rule,
    Sleep,
    SleepEvents,
    Sparsity,
    Who,
    count,
    to,
)

from .ignite_rules import EVERY_KIND


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
