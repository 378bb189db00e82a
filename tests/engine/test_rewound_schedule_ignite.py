"""Under Ignite a rewind holds when the next step begins, whichever handler moves the schedule."""

from __future__ import annotations

import pytest
from ignite.engine import Events, create_supervised_trainer
from ignite.handlers.param_scheduler import LRScheduler
from torch import optim
from torch.nn.functional import mse_loss

from saliency import Magnitude
from schedules import once
from sleepengine import Rewind, Rule, Sleep, SleepEngine, Who, by, on_event

from .halved_rates import REWIND, Run


def ignite(run, event, wrapped, rules_first, epochs=4, **how):
    trainer = create_supervised_trainer(run.model, run.optimizer, mse_loss)
    rates = []
    trainer.add_event_handler(
        Events.GET_BATCH_COMPLETED, lambda _: rates.append(run.optimizer.param_groups[0]["lr"])
    )
    if rules_first:
        run.engine.attach(trainer)
    if wrapped:
        trainer.add_event_handler(event, run.scheduler)
    else:
        trainer.add_event_handler(event, lambda _: run.scheduler.step())
    if not rules_first:
        run.engine.attach(trainer)
    return trainer, rates


@pytest.mark.parametrize("first", [True, False], ids=["engine first", "scheduler first"])
@pytest.mark.parametrize("event", [Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED])
@pytest.mark.parametrize("at", [6, 8])
def test_ignite_with_a_scheduler_of_torch(event, first, at):
    run = Run(Rule(once(f"{at}it"), None, Rewind("4it")))
    if event is Events.EPOCH_COMPLETED:
        run.scheduler.step_size = 1
    trainer, rates = ignite(run, event, False, first)
    trainer.run(list(zip(*run.batches, strict=True)), max_epochs=3)
    assert rates[at : at + 2] == [0.05, 0.05]  # as in steps 5 and 6
    assert rates[4:6] == [0.05, 0.05]
    assert run.engine.live.kept["4it"].optimizers[0]["param_groups"][0]["lr"] == 0.05


@pytest.mark.parametrize("first", [True, False], ids=["engine first", "scheduler first"])
@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED])
def test_ignite_with_its_own_schedulers(event, first):
    run = Run()
    inner = optim.lr_scheduler.ExponentialLR(run.optimizer, 0.5)
    run.scheduler = LRScheduler(inner)
    rule = Rule(once("8it"), None, Rewind("4it"))
    run.engine = SleepEngine(
        run.model, run.optimizer, [rule], scheduler=run.scheduler, keep=["4it"]
    )
    steps = []
    trainer, _ = ignite(run, event, True, first)
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda _: steps.append(run.optimizer.param_groups[0]["lr"])
    )
    trainer.run(list(zip(*run.batches, strict=True)), max_epochs=3)
    assert steps[8:] == steps[4:8]


def test_a_call_in_a_handler_holds_when_the_next_step_begins():
    run = Run()
    run.scheduler.step_size = 1
    trainer, rates = ignite(run, Events.EPOCH_COMPLETED, False, True)

    @trainer.on(Events.EPOCH_COMPLETED(once=2))
    def _(_):
        run.engine.fire(REWIND)

    trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda _: run.scheduler.step())
    trainer.run(list(zip(*run.batches, strict=True)), max_epochs=3)
    assert rates[::4] == [0.1, 0.05, 0.05]


def test_a_rule_of_an_event():
    by_event = Events.EPOCH_COMPLETED(once=2)
    run = Run(
        Rule(on_event(by_event), Who(Magnitude(), amount=by(0.5)), Sleep()),
        Rule(on_event(by_event), None, Rewind("4it")),
    )
    run.scheduler.step_size = 1
    trainer, rates = ignite(run, Events.EPOCH_COMPLETED, False, True)
    trainer.run(list(zip(*run.batches, strict=True)), max_epochs=3)
    assert rates[::4] == [0.1, 0.05, 0.05]
    assert run.engine.store.asleep_count() == 3
