"""A wrong use says what is wrong, what is valid and what is nearest, before anything changes."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from ignite.engine import Engine, EventEnum, Events
from torch import nn, optim

from saliency import Gradient, Magnitude, Scorer, Snip
from schedules import cosine, every, linear, once, plateau
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
    StateError,
    UnknownNameError,
    Wake,
    Who,
    by,
    older_than,
    on_event,
    rate,
    to,
    where,
)

HALF = Who(Magnitude(), amount=to(0.5))


def make(*rules, model=None, **options):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)) if model is None else model
    return SleepEngine(model, optim.SGD(model.parameters(), 0.1), rules, **options)


def sleep(when="2it", who=HALF, **how):
    return Rule(once(when), who, Sleep(), **how)


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


# --- two engines ------------------------------------------------------------------------------


def test_two_engines_on_one_optimizer():
    engine = make().attach()
    other = SleepEngine(engine.model, engine.live.optimizers)
    with pytest.raises(SetupError, match=r"another engine is attached to 0\.weight, .*detach\(\)"):
        other.attach()
    assert not other.attached
    engine.detach()
    assert other.attach().attached


def test_two_engines_on_one_model_with_masks():
    engine = make().attach()
    engine.sleep_weights("2")
    other = SleepEngine(engine.model, optim.SGD(engine.model.parameters(), 0.1))
    with pytest.raises(SetupError, match=r"another engine is attached to .*2\.weight"):
        other.attach()
    trainer = Engine(lambda *_: None)
    with pytest.raises(SetupError, match=r"another engine is attached to .*2\.weight"):
        other.attach(trainer)
    assert "sleep_fraction" not in vars(trainer.state)


def test_two_engines_with_an_optimizer_each_are_both_named_though_nothing_sleeps():
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
    rule = Rule(once("9it"), Who(Magnitude(), amount=by(0.5), params="1.weight"), Sleep())
    first = SleepEngine(model, optim.SGD(model.parameters(), 0.1), [rule])
    other = SleepEngine(model, optim.Adam(model[1].parameters()), params="1.weight")
    with first.attach():
        with pytest.raises(
            SetupError,
            match=r"attached to 1\.weight, 1\.bias \(SGD; rules: Sleep-Magnitude\); "
            r"this one \(Adam; rules: none\)",
        ):
            other.attach()
        assert not model[1].weight._post_accumulate_grad_hooks
        with pytest.raises(SetupError, match=r"attached to 0\.weight"):
            SleepEngine(model).attach()
    with other.attach(), pytest.raises(SetupError, match=r"\(Adam; rules: none\)"):
        first.attach()
    first.attach().detach()


def test_an_engine_that_is_gone_holds_nothing():
    model = nn.Linear(5, 6)
    engine = SleepEngine(model).attach()
    copied = copy.deepcopy(model)
    SleepEngine(copied).attach()
    del engine
    gc.collect()
    SleepEngine(model).attach()


def test_two_engines_on_two_halves_of_a_model():
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
    for layer in model:
        SleepEngine(layer, optim.SGD(layer.parameters(), 0.1)).attach().sleep_weights("weight")


# --- asking and telling -----------------------------------------------------------------------

CALLS = {
    "layer": (lambda e: e.sleep_weights("fc"), "there is no layer or parameter 'fc'"),
    "nearest layer": (lambda e: e.wake_weights("2.weigth"), "Did you mean '2.weight'"),
    "position": (lambda e: e.sleep_weights("0", (9, 9)), r"position \(9, 9\) is outside the shape"),
    "shape": (
        lambda e: e.freeze_weights("0", torch.ones(2, 2).bool()),
        r"the mask has shape \(2, 2\), the parameter has \(6, 5\)",
    ),
    "numbers": (lambda e: e.sleep_weights("0", torch.ones(6, 5)), "write `mask != 0` for a mask"),
    "asked position": (lambda e: e.is_sleeping("0", (9, 9)), "outside the shape"),
    "view": (lambda e: e["3"], "there is no layer or parameter '3'"),
    "undo": (lambda e: e.undo(), "there is nothing to undo"),
    "event": (lambda e: e.on("slept", print), "there is no event 'slept'. Valid: 'SLEPT'"),
    "never kept": (
        lambda e: e.wake_weights("0", value=Kept("7it")),
        "nothing was kept at '7it'.*keep=",
    ),
    "value": (lambda e: e.wake_weights("0", value="zeros"), "Did you mean 'zero'"),
    "masks": (lambda e: e.set_masks({"0.weight": torch.ones(6, 5)}), "give a bool tensor"),
    "name of mask": (
        lambda e: e.set_masks({"0.wight": torch.ones(6, 5).bool()}),
        r"Did you mean '0\.weight'",
    ),
    "rule": (lambda e: e.fire("now"), "'now' is not a Rule"),
}


@pytest.mark.parametrize("case", list(CALLS))
def test_calls(case, same):
    engine = make().attach()
    act, message = CALLS[case]
    before = copy.deepcopy(engine.state_dict())
    with pytest.raises(SetupError, match=message):
        act(engine)
    assert same(engine.state_dict(), before)


def test_an_unknown_name_is_an_unknown_name_error():
    with pytest.raises(UnknownNameError):
        make().sleep_weights("fc")


class _Half(Scorer):
    def score(self, signals):
        return {name: w.abs()[:1, :2] for name, w in signals.weights.items()}


class _Some(Scorer):
    def score(self, signals):
        return {}


FIRING = {
    "shape": (
        Who(_Half(), amount=to(0.5)),
        r"gave scores of shape \(1, 2\) for 0\.weight of shape",
    ),
    "missing": (Who(_Some(), amount=to(0.5)), r"gave no scores for \['0\.weight'"),
    "filter": (
        Who(None, amount=by(0.5), where=where(lambda name, shape: torch.ones(2))),
        "give a bool tensor of shape",
    ),
}


@pytest.mark.parametrize("case", list(FIRING))
def test_firing(case, same):
    engine = make().attach()
    before = copy.deepcopy(engine.state_dict())
    who, message = FIRING[case]
    with pytest.raises(ValueError, match=message):
        engine.fire(sleep(who=who))
    assert same(engine.state_dict(), before)


# --- saved engines ----------------------------------------------------------------------------


def remembering():
    return [
        sleep("1it", Who(Gradient(), amount=to(0.25))),
        Rule(every("1it"), Who(Magnitude(), amount=rate(0.02), params="0"), Sleep()),
        Rule(plateau("loss", 2), HALF, Wake("original")),
    ]


def damaged():
    """What can be wrong with a saved engine: a change of the state, and the message."""
    bits = ("masks", "masks", "asleep", "weights", "0.weight")
    return {
        "no dict": (lambda s: [1], "must be a dict, got list"),
        "missing": (lambda s: s.pop("clock"), r"lacks \['clock'\]"),
        "unknown": (lambda s: s.update(extra=1), r"unknown \['extra'\]"),
        "format": (lambda s: s.update(format=99), "has format 99"),
        "rules": (lambda s: s["rules"].__setitem__(0, "other"), "had other rules: saved 'other'"),
        "fewer rules": (lambda s: s["rules"].pop(), "their number differs"),
        "bits": (lambda s: _at(s, *bits)["bits"].add_(1), "0.weight"),
        "count": (lambda s: _at(s, *bits).update(count=3), "0.weight"),
        "length": (lambda s: _at(s, *bits).update(bits=torch.zeros(1).byte()), "0.weight"),
        "name": (
            lambda s: _at(s, *bits[:-1]).update({"0.wight": _at(s, *bits)}),
            "Did you mean '0.weight'",
        ),
        "parked": (lambda s: s["parked"].pop("0.weight"), "'0.weight' have no parked value"),
        "too many parked": (
            lambda s: s["parked"].update({"2.bias": _all_parked(3)}),
            "'2.bias' are parked where nothing sleeps",
        ),
        "frozen": (lambda s: s["frozen"]["frozen_values"].clear(), "frozen_values are of"),
        "clock": (lambda s: s["clock"].pop("metrics"), "saved clock has fields"),
        "clock's number": (lambda s: s["clock"].update(iteration="x"), "damaged.*invalid literal"),
        "metrics": (lambda s: s["clock"].update(metrics={"loss": [1]}), "damaged"),
        "steps": (
            lambda s: s["optimizer_state"].update(steps_since_fill=[-1]),
            "non-negative ints",
        ),
        "waiting": (lambda s: s["waiting"].append("nobody"), r"unknown rules \['nobody'\]"),
        "carries": (lambda s: s["carries"].update(x="much"), "damaged.*could not convert"),
        "memories": (lambda s: s["memories"].pop("Wake-Magnitude"), "memories are of"),
        "scorer": (
            lambda s: s["memories"]["Wake-Magnitude"].update(scorer={"sum": 1}),
            "damaged.*keeps no state",
        ),
        "filters": (lambda s: s["memories"]["Wake-Magnitude"].update(filters=[{}]), "damaged"),
        "kept point": (
            lambda s: s["kept_points"]["init"]["weights"].update({"0.weight": torch.ones(2)}),
            r"kept point 'init': 0\.weight has shape \(2,\), model: \(6, 5\)",
        ),
        "happened": (lambda s: s["happened"].clear(), "damaged"),
        "journal": (lambda s: s["journal"].clear(), ""),
        "seed": (lambda s: s.update(seed=None), "damaged"),
    }


def _at(state, *path):
    for key in path:
        state = state[key]
    return state


def _all_parked(n):
    mask = {"bits": torch.tensor([2**n - 1], dtype=torch.uint8), "count": n}
    return {"shape": [n], "dtype": "torch.float32", "mask": mask, "values": torch.ones(n)}


@pytest.fixture(scope="module")
def saved():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine = make(*remembering()).attach()
        (optimizer,) = engine.live.optimizers
        for i in range(3):
            optimizer.zero_grad()
            engine.model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
            engine.metric("loss", 1.0 + i)
        engine.freeze_weights("2", (0, slice(None)))
    return engine.state_dict()


@pytest.mark.parametrize("case", list(damaged()))
def test_a_state_that_does_not_fit_changes_nothing(case, saved, same):
    engine = make(*remembering()).attach()
    (optimizer,) = engine.live.optimizers
    engine.model(torch.randn(4, 5)).square().sum().backward()
    optimizer.step()

    def everything():
        parts = [engine.state_dict(), engine.model.state_dict(), optimizer.state_dict()]
        return copy.deepcopy([*parts, engine.model[0].weight.grad])

    before = everything()
    change, message = damaged()[case]
    state = copy.deepcopy(saved)
    changed = change(state)
    with pytest.raises(StateError, match=f"(?s){message}"):
        engine.load_state_dict(changed if case == "no dict" else state)
    assert same(everything(), before)
    engine.load_state_dict(copy.deepcopy(saved))
    assert same(engine.state_dict(), saved)


def test_a_state_of_another_model(saved):
    other = make(*remembering(), model=nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)))
    with pytest.raises(StateError, match=r"0\.weight"):
        other.load_state_dict(saved)
