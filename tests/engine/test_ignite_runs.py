"""Runs of one trainer after another, and what detach leaves."""

from __future__ import annotations

import pytest
from ignite.engine import Engine, Events
from ignite.engine.events import State
from torch import optim

from saliency import Magnitude
from schedules import every, once
from sleepengine import (
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    SleepEvents,
    Who,
    by,
    count,
    on_event,
)

from .ignite_rules import EVERY_KIND, steps_and_counts


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


def test_detach_leaves_nothing(rig, data, net):
    trainer, engine = rig(*EVERY_KIND, attach=False)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: None)
    handlers = {event: list(h) for event, h in trainer._event_handlers.items() if h}
    attributes = dict(vars(trainer.state))
    assert all_hooks(engine) == []
    engine.attach(trainer)
    assert len(all_hooks(engine)) == 5  # one of them until the first step
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
