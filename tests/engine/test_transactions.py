"""Rules that fire together leave one net change, all of it or nothing."""

from __future__ import annotations

import pytest
import torch
from torch import optim

from saliency import Gradient, Magnitude, Scorer
from schedules import every, once
from sleepengine import (
    Freeze,
    Kept,
    MissingSignal,
    Reset,
    Rewind,
    RewindError,
    Rule,
    SetupError,
    Sleep,
    SleepEngine,
    Wake,
    Who,
    by,
    count,
    to,
)

ASLEEP = [False, False, False, False, True, True, True, True]


def rigl(when, **how):
    """Drop half of the awake by magnitude, grow back to half asleep by gradient, from zero."""
    drop = Rule(when, Who(Magnitude(), amount=by(0.5)), Sleep(), **how)
    grow = Rule(when, Who(Gradient(), amount=to(0.5)), Wake(value="zero"), **how)
    return [drop, grow]


@pytest.fixture
def run(row, push):
    """Weights 0 to 3 are awake, 4 to 7 asleep; one step of 0 is taken, then RigL with gradients g.

    Dropped: the smaller half of |4 1 3 2|, weights 1 and 3. Grown: of the six asleep then, with
    |g| 1: 9, 3: 1, 4: 5, 5: 2, 6: 3, 7: 8, the two largest, weights 1 and 7. So 1 never left, 3
    sleeps and 7 is new.
    """

    def make(optimizer_class=optim.SGD, lr=0.5, when="1it", **how):
        layer = row(4.0, -1.0, 3.0, 2.0, 8.0, 8.0, 8.0, 8.0)
        optimizer = optimizer_class(layer.parameters(), lr=lr)
        engine = SleepEngine(layer, optimizer, rigl(once(when), **how))
        engine.sleep_weights("weight", torch.tensor([ASLEEP]))
        engine.attach()
        push(layer, optimizer, *[0.0] * 8)
        state = {k: torch.clone(v) for k, v in optimizer.state[layer.weight].items()}
        optimizer.param_groups[0]["weight_decay"] = 0.1
        push(layer, optimizer, 7.0, 9.0, 7.0, 1.0, 5.0, 2.0, -3.0, -8.0)
        optimizer.param_groups[0]["weight_decay"] = 0.0
        return layer, optimizer, engine, state

    return make


NET = [False, False, False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("at", "when", "lr"), [("before_step", "1it", 0.5), ("after_step", "2it", 0.0)]
)
def test_rigl_masks_are_those_of_the_table(run, at, when, lr):
    _, _, engine, _ = run(lr=lr, when=when, at=at)
    assert engine.is_sleeping("weight").tolist() == [NET]
    records = [(r.rule, r.changed) for r in engine.journal][-2:]
    assert records == [("Sleep-Magnitude", 2), ("Wake-Gradient", 2)]


def test_skip_step_moves_nothing_but_what_sleeps_and_wakes(run, words):
    layer, optimizer, _, state = run(optim.Adam, skip_step=True)
    expected = [[4.0, -1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    assert torch.equal(words(layer.weight), words(torch.tensor(expected)))
    after = optimizer.state[layer.weight]
    assert after["step"] == state["step"] == 1
    for key in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(after[key][:, :3], state[key][:, :3])
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[7.0, 9.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]]


def test_the_step_after_a_skipped_one_counts(run, push):
    layer, optimizer, _, _ = run(skip_step=True)
    push(layer, optimizer, *[1.0] * 8)
    assert layer.weight.tolist() == [[3.5, -1.5, 2.5, 0.0, 0.0, 0.0, 0.0, -0.5]]


def test_skip_step_holds_every_optimizer(row):
    a, b = row(1.0, 2.0), row(3.0, 4.0)
    model = torch.nn.ModuleList([a, b])
    first, second = optim.SGD(a.parameters(), 1.0), optim.SGD(b.parameters(), 1.0)
    rule = Rule(once("1it"), Who(Magnitude(), amount=count(1)), Sleep(), skip_step=True)
    SleepEngine(model, [first, second], [rule]).attach()

    def step():
        x = torch.ones(1, 2)
        (a(x) + b(x)).sum().backward()
        first.step()
        second.step()
        first.zero_grad()
        second.zero_grad()

    step()
    assert (a.weight.tolist(), b.weight.tolist()) == ([[0.0, 1.0]], [[2.0, 3.0]])
    step()  # held, both
    assert (a.weight.tolist(), b.weight.tolist()) == ([[0.0, 1.0]], [[2.0, 3.0]])
    step()
    assert (a.weight.tolist(), b.weight.tolist()) == ([[0.0, 0.0]], [[1.0, 2.0]])


def test_dropped_and_regrown_keeps_value_and_momentum_and_the_new_start_at_zero(row, push):
    layer = row(4.0, -1.0, 3.0, 2.0)
    optimizer = optim.SGD(layer.parameters(), 0.5, momentum=0.5)
    engine = SleepEngine(layer, optimizer)
    engine.sleep_weights("weight", (0, 3))
    engine.attach()
    push(layer, optimizer, 2.0, 2.0, 2.0, 2.0)
    assert layer.weight.tolist() == [[3.0, -2.0, 2.0, 0.0]]
    both = torch.tensor([[False, True, False, True]])
    drop = Rule(once("0it"), Who(Magnitude(), amount=count(2)), Sleep())
    grow = Rule(once("0it"), Who(_Fixed(both), amount=count(2)), Wake("zero", "zero"))
    changes = engine.fire(drop, grow)
    assert layer.weight.tolist() == [[3.0, -2.0, 0.0, 0.0]]
    assert changes.woke.counts() == {"weight": 1}  # 3; 1 never left
    assert changes.slept.counts() == {"weight": 1}
    assert optimizer.state[layer.weight]["momentum_buffer"].tolist() == [[2.0, 2.0, 0.0, 0.0]]


class _Fixed(Scorer):
    """1 where the mask is set."""

    def __init__(self, mask):
        self.mask = mask

    def score(self, signals):
        return {name: self.mask.float() for name in signals.weights}


class _Broken(Scorer):
    def score(self, signals):
        raise ArithmeticError("no score")


class _Nan(Scorer):
    def score(self, signals):
        return {name: torch.full_like(w, float("nan")) for name, w in signals.weights.items()}


WRONG = {
    "scorer": (Who(_Broken(), amount=to(0.5)), Sleep(), ArithmeticError),
    "nan": (Who(_Nan(), amount=to(0.5)), Sleep(), SetupError),
    "signal": (Who(Gradient(), amount=to(0.5)), Sleep(), MissingSignal),
    "kept point": (Who(None, amount=to(0.0)), Wake(Kept("9it")), SetupError),
    "parked state": (Who(None, amount=to(0.0)), Wake(state="parked"), SetupError),
    "reset": (Who(None, amount=count(1)), Reset(value=Kept("9it")), SetupError),
    "rewind": (None, Rewind(to="9it"), SetupError),
}


@pytest.mark.parametrize("undo", [True, False])
@pytest.mark.parametrize("wrong", list(WRONG))
def test_an_error_in_the_second_rule_leaves_everything(wrong, undo, row, push, same):
    layer = row(4.0, -1.0, 3.0, 2.0)
    optimizer = optim.Adam(layer.parameters(), 0.5)
    engine = SleepEngine(layer, optimizer, undo=undo).attach()
    engine.sleep_weights("weight", (0, 3))
    push(layer, optimizer, 1.0, 2.0, 3.0, 4.0)

    def everything():
        return [layer.state_dict(), optimizer.state_dict(), engine.state_dict(), layer.weight.grad]

    before = [torch.clone(layer.weight.grad), *map(_copy, everything()[:3])]
    good = Rule(once("0it"), Who(Magnitude(), amount=to(0.5)), Sleep())
    who, what, error = WRONG[wrong]
    with pytest.raises(error):
        engine.fire(good, Rule(once("0it"), who, what))
    grad, *after = [everything()[3], *everything()[:3]]
    assert same(grad, before[0])
    for old, new in zip(before[1:], after, strict=True):
        assert same(old, new)
    push(layer, optimizer, 1.0, 2.0, 3.0, 4.0)
    engine.check()


def _copy(state):
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _copy(value) for key, value in state.items()}
    return [_copy(value) for value in state] if isinstance(state, list) else state


def test_a_rewind_that_does_not_verify_is_taken_back(row, push, same):
    layer = row(4.0, -1.0)
    layer.register_buffer("seen", torch.zeros(1))
    optimizer = optim.SGD(layer.parameters(), 0.5)
    engine = SleepEngine(layer, optimizer, keep=("init",)).attach()
    push(layer, optimizer, 1.0, 1.0)
    before = _copy(layer.state_dict())
    engine.live.kept["init"].buffers["seen"].fill_(7.0)

    class Stubborn(torch.Tensor):
        def copy_(self, other, non_blocking=False):
            return self

    layer._buffers["seen"] = layer.seen.as_subclass(Stubborn)
    with pytest.raises(RewindError, match="buffer seen"):
        engine.fire(Rule(once("0it"), None, Rewind(to="init")))
    assert same(before["weight"], layer.state_dict()["weight"])


def test_a_failing_rule_of_the_schedule_raises_in_the_step_it_was_due(row, push):
    layer = row(4.0, -1.0)
    optimizer = optim.SGD(layer.parameters(), 0.5)
    SleepEngine(
        layer, optimizer, [Rule(once("2it"), Who(_Broken(), amount=to(0.5)), Sleep())]
    ).attach()
    push(layer, optimizer, 1.0, 1.0)
    with pytest.raises(ArithmeticError, match="no score"):
        push(layer, optimizer, 1.0, 1.0)


def test_rules_of_one_firing_see_what_the_ones_before_left(row):
    """Freeze takes the half that Sleep left awake."""
    layer = row(1.0, 2.0, 3.0, 4.0)
    sleep = Rule(once("0it"), Who(Magnitude(), amount=to(0.5)), Sleep())
    freeze = Rule(once("0it"), Who(None, amount=by(1.0)), Freeze())
    engine = SleepEngine(layer, None, [])
    engine.fire(sleep, freeze)
    state = engine.get_sleep_state("weight")
    assert state.awake.tolist() == [[False, False, True, True]]
    assert state.frozen.tolist() == [[False, False, True, True]]


def test_one_firing_is_one_transaction_in_the_journal(row, push):
    layer = row(1.0, 2.0, 3.0, 4.0)
    optimizer = optim.SGD(layer.parameters(), 0.0)
    engine = SleepEngine(layer, optimizer, rigl(every("2it")))
    engine.attach()
    for _ in range(4):
        push(layer, optimizer, 1.0, 2.0, 3.0, 4.0)
    assert [(r.step, r.transaction, r.rule) for r in engine.journal] == [
        (2, 0, "Sleep-Magnitude"),
        (2, 0, "Wake-Gradient"),
        (4, 1, "Sleep-Magnitude"),
        (4, 1, "Wake-Gradient"),
    ]
