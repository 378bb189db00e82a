"""A wrong use says what is wrong, what is valid and what is nearest, before anything changes."""

from __future__ import annotations

import pytest
from ignite.engine import Engine, EventEnum, Events
from torch import nn, optim

from saliency import Gradient, Magnitude, Snip
from schedules import cosine, every, linear, once
from sleepengine import (
    Kept,
    NofM,
    Reset,
    Rewind,
    Rows,
    Rule,
    ScheduleError,
    SetupError,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    older_than,
    on_event,
    to,
)

from .making import HALF, make, sleep


class Mine(EventEnum):
    NEVER = "never registered"


CONSTRUCTION = {
    "not a rule": (lambda: make("rule"), r"rules: 'rule' is not a Rule\(when, who, what\)"),
    "not a model": (lambda: SleepEngine(3), r"model=3 is not a torch\.nn\.Module"),
    "not an optimizer": (lambda: SleepEngine(nn.Linear(2, 2), "sgd"), "'sgd' is not a .*Optimizer"),
    "pattern": (lambda: make(params="0.wieght"), r"matches no parameter\. Did you mean '0.weight'"),
    "rule's pattern": (
        lambda: make(sleep(who=Who(Magnitude(), amount=to(0.5), params="fc*"))),
        r"rule 'Sleep-Magnitude': 'fc\*' matches no parameter",
    ),
    "memory": (lambda: make(memory="tiny"), r"memory='tiny' is not known; valid: \['fast', 'lean'"),
    "park_on": (lambda: make(park_on="disk"), r"park_on='disk' is not known; valid: \[None, 'cpu'"),
    "park_state": (lambda: make(park_state="some"), "park_state='some' is not known; valid"),
    "too little parked": (
        lambda: make(Rule(once("1it"), HALF, Wake(state="parked")), park_state="second"),
        "park_state='second', but the Wake of a rule needs 'all'",
    ),
    "nothing parked": (
        lambda: make(Rule(once("1it"), HALF, Wake()), park_state="none"),
        "park_state='none', but the Wake of a rule needs 'second'",
    ),
    "kept point": (lambda: make(keep=("intit",)), "kept point 'intit' is .* Did you mean 'init'"),
    "kept by a rule": (
        lambda: make(Rule(once("1it"), HALF, Wake(Kept("5 it")))),
        "kept point '5 it' is neither",
    ),
    "no data": (
        lambda: make(sleep(who=Who(Snip(), amount=to(0.5), batches=2))),
        r"batches=2 needs data=\n.*batches=2 needs loss_fn=",
    ),
    "outside the optimizer": (
        lambda: SleepEngine(nn.Linear(2, 2), optim.SGD(nn.Linear(2, 2).parameters()), [sleep()]),
        "rule 'Sleep-Magnitude': weight in none of the given optimizers",
    ),
    "skip without optimizer": (
        lambda: SleepEngine(nn.Linear(2, 2), None, [sleep(skip_step=True)]),
        "skip_step needs an optimizer",
    ),
    "nothing in scope": (
        lambda: make(sleep(), model=nn.LayerNorm(3)),
        "rule 'Sleep-Magnitude': no parameter is in its scope",
    ),
    "data order": (
        lambda: make(Rule(once("1it"), None, Rewind(data=True))),
        "rewinds the data order; give sampler=",
    ),
}


RULES = {
    "no who": (lambda: Rule(once("1it"), None, Sleep()), r"needs a who=Who\(\.\.\.\)"),
    "who too many": (lambda: Rule(once("1it"), HALF, Rewind()), "leave out who="),
    "when": (lambda: Rule("1it", HALF, Sleep()), r"Rule\(when='1it'\): write a trigger"),
    "event": (lambda: Rule(Events.STARTED, HALF, Sleep()), "an Ignite event is written on_event"),
    "class of action": (lambda: Rule(once("1it"), HALF, Sleep), r"write an action, such as Sleep"),
    "class of scorer": (lambda: Who(Magnitude, amount=to(0.5)), "write an instance, such as"),
    "amount": (lambda: Who(Magnitude(), amount=0.5), r"Who\(amount=0\.5\): write to\(0\.9\)"),
    "no amount": (lambda: Who(Magnitude()), r"Who\(pools=Global\(\)\) needs an amount"),
    "pool and amount": (lambda: Who(None, pools=NofM(2, 4), amount=to(0.5)), "NofM"),
    "pool and units": (
        lambda: Who(None, units=Rows(), pools=NofM(2, 4)),
        r"NofM\(n=2, m=4\) compares single weights",
    ),
    "batches": (lambda: Who(Snip(), amount=to(0.5), batches=0), "must be at least 1, or None"),
    "at": (lambda: sleep(at="after"), "valid are 'before_step' and 'after_step'"),
    "over": (lambda: sleep(over=("1it",)), r"give \(start, stop\)"),
    "value": (lambda: Wake("parcked"), "Did you mean 'parked'"),
    "value type": (lambda: Wake(5), "value=5: give one of"),
    "state": (lambda: Wake(state="kep"), "Did you mean 'keep'"),
    "reset parked": (lambda: Reset("parked"), "awake has no parked value"),
    "reset state": (lambda: Reset(state="parked"), "awake has no parked state"),
    "rewind to": (lambda: Rewind(to=5), "give 'init', 'fresh' or a time"),
    "rewind nothing": (
        lambda: Rewind(weights=False, buffers=False, optimizer=False, schedule=False),
        "rewinds nothing",
    ),
    "kept": (lambda: Kept(""), "give a kept point"),
    "on_event": (lambda: on_event("STARTED"), "not an Ignite event"),
}


ATTACH = {
    "epochs": (lambda: make(sleep("2ep")).attach(), "'2ep' needs the length of an epoch"),
    "kept point": (
        lambda: make(keep=("1ep",)).attach(),
        "kept point '1ep': '1ep' needs the length of an epoch",
    ),
    "percent": (lambda: make(sleep("50%")).attach(), "needs .* total_steps="),
    "age": (
        lambda: make(sleep(who=Who(Magnitude(), amount=to(0.5), where=older_than("2ep")))).attach(),
        "'2ep' needs the length of an epoch",
    ),
    "endless curve": (
        lambda: make(Rule(every("2it"), Who(None, amount=to(linear(0, 0.5))), Sleep())).attach(),
        "its curve needs an end",
    ),
    "steps_per_epoch": (lambda: make().attach(steps_per_epoch=0), "steps_per_epoch=0.* positive"),
    "total_steps": (lambda: make().attach(total_steps=2.5), "total_steps=2.5.* positive int"),
    "trainer": (lambda: make().attach("trainer"), "'trainer'.* not an ignite.engine.Engine"),
    "event without trainer": (
        lambda: make(Rule(on_event(Events.STARTED), HALF, Sleep())).attach(),
        r"rule 'Sleep-Magnitude': on_event\(Events.STARTED\) waits for an Ignite event, but no",
    ),
    "unregistered event": (
        lambda: make(Rule(on_event(Mine.NEVER), HALF, Sleep())).attach(Engine(lambda *_: None)),
        r"rule 'Sleep-Magnitude': on_event\(.*NEVER.* is not a valid event for this Engine",
    ),
    "steps without optimizer": (
        lambda: SleepEngine(nn.Linear(2, 2), None, [sleep()]).attach(),
        "the ticks of a plain loop are the steps of an optimizer",
    ),
    "gradients without optimizer": (
        lambda: SleepEngine(
            nn.Linear(2, 2), None, [sleep("0it", Who(Gradient(), amount=to(0.5)))]
        ).attach(),
        "give optimizer=",
    ),
}


@pytest.mark.parametrize("case", list(CONSTRUCTION))
def test_construction(case):
    build, message = CONSTRUCTION[case]
    with pytest.raises(SetupError, match=f"(?s){message}"):
        build()


@pytest.mark.parametrize("case", list(RULES))
def test_rules_and_actions(case):
    build, message = RULES[case]
    with pytest.raises(SetupError, match=message):
        build()


@pytest.mark.parametrize("case", list(ATTACH))
def test_attach(case):
    build, message = ATTACH[case]
    with pytest.raises(SetupError, match=message):
        build()


def test_all_gaps_in_one_error():
    rules = [
        sleep(who=Who(Snip(), amount=to(0.5), batches=2)),
        sleep(who=Who(None, amount=to(0.5), params="nowhere")),
        Rule(once("1it"), None, Rewind(data=True)),
    ]
    with pytest.raises(SetupError) as error:
        make(*rules)
    assert len(str(error.value).splitlines()) == 4


def test_a_failed_attach_leaves_nothing_and_can_be_repeated():
    engine = make(sleep("2ep"))
    (optimizer,) = engine.live.optimizers
    trainer = Engine(lambda *_: None)
    before = dict(vars(trainer.state))
    with pytest.raises(SetupError):
        engine.attach()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_state_dict_post_hooks
    assert not engine.attached
    bad = make(
        Rule(on_event(Mine.NEVER), HALF, Sleep()), Rule(on_event(Events.STARTED), HALF, Sleep())
    )
    with pytest.raises(SetupError):
        bad.attach(trainer)
    assert dict(vars(trainer.state)).keys() == before.keys()
    assert not [h for handlers in trainer._event_handlers.values() for h in handlers]
    assert not bad.live.optimizers[0]._optimizer_step_pre_hooks
    assert engine.attach(steps_per_epoch=3).attached


def test_attach_twice():
    engine = make().attach()
    with pytest.raises(SetupError, match=r"attached already: detach\(\) first"):
        engine.attach()


def test_a_schedule_that_cannot_end_in_the_run_is_refused_at_the_start():
    rule = Rule(
        every("3it", after="0it", before="20it"), Who(None, amount=to(cosine(0, 0.9))), Sleep()
    )
    with pytest.raises(ScheduleError, match=r"short of its target 0\.9"):
        make(rule).attach(total_steps=12)
