"""Scorers with memory, against sums and averages written out by hand and in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency import (
    FirstMoment,
    GradientChange,
    Lamp,
    Magnitude,
    MissingSignal,
    Momentum,
    Movement,
    Normalized,
    Signals,
    Smoothed,
    Sum,
    Taylor,
)


def one(w, g, *, step=0, awake=None):
    """Signals of one weight tensor."""
    return Signals(
        weights={"w": torch.tensor(w, dtype=torch.float64)},
        grads={"w": torch.tensor(g, dtype=torch.float64)},
        awake={} if awake is None else {"w": torch.tensor(awake)},
        step=step,
    )


STEPS = st.lists(
    st.lists(st.tuples(*[st.floats(-5, 5)] * 2), min_size=3, max_size=3), min_size=1, max_size=6
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_movement_is_the_sum(steps):
    movement = Movement()
    for pairs in steps:
        movement.observe(one([w for w, _ in pairs], [g for _, g in pairs]))
    expected = [-sum(pairs[i][0] * pairs[i][1] for pairs in steps) for i in range(3)]
    scores = movement.score(one([0.0] * 3, [0.0] * 3))["w"].tolist()
    assert scores == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, decay=st.floats(0, 0.99))
def test_momentum_is_the_average(steps, decay):
    momentum = Momentum(decay=decay)
    mean = None
    for number, pairs in enumerate(steps):
        g = [g for _, g in pairs]
        momentum.observe(one([w for w, _ in pairs], g, step=number))
        old = g if mean is None else mean
        mean = [decay * m + (1 - decay) * x for m, x in zip(old, g, strict=True)]
    scores = momentum.score(one([0.0] * 3, [0.0] * 3))["w"].tolist()
    assert scores == pytest.approx([abs(m) for m in mean], abs=1e-9)


@pytest.mark.parametrize(
    ("scorer", "before", "after_one", "after_two"),
    [
        # w, g = (2, -3), (2, 1), then scored at (2, 5)
        (Movement(), -10.0, 6.0, 4.0),
        (Momentum(decay=0.75), 5.0, 3.0, 2.0),
        (Momentum(decay=0), 5.0, 3.0, 1.0),
        (GradientChange(), 5.0, 8.0, 4.0),
        (Smoothed(Taylor(), decay=0.75), 10.0, 6.0, 5.0),
        (Smoothed(GradientChange(), decay=0.5), 5.0, 3.0, 3.5),
        (Sum(Movement(), Momentum(decay=0.75)), -5.0, 9.0, 6.0),
        (Normalized(Movement()), -1.0, 1.0, 1.0),
        (Lamp(Momentum()), 1.0, 1.0, 1.0),
    ],
    ids=repr,
)
def test_step_by_step(scorer, before, after_one, after_two):
    now = one([2.0], [5.0], step=9)
    assert scorer.accumulates
    assert scorer.score(now)["w"].tolist() == [before]
    scorer.observe(one([2.0], [-3.0], step=1))
    assert scorer.score(now)["w"].tolist() == [after_one]
    scorer.observe(one([2.0], [1.0], step=2))
    assert scorer.score(now)["w"].tolist() == [after_two]
    scorer.reset()
    assert scorer.score(now)["w"].tolist() == [before]


def test_movement_stands_still_while_asleep():
    movement = Movement()
    movement.observe(one([2.0, 2.0], [1.0, 1.0]))
    movement.observe(one([0.0, 2.0], [math.inf, 1.0], awake=[False, True]))
    movement.observe(one([2.0, 2.0], [1.0, 1.0]))
    assert movement.score(one([0.0, 0.0], [0.0, 0.0]))["w"].tolist() == [-4.0, -6.0]


def test_momentum_takes_in_the_gradients_of_sleeping_weights():
    momentum = Momentum(decay=0.5)
    momentum.observe(one([0.0, 2.0], [4.0, 1.0], awake=[False, True]))
    momentum.observe(one([0.0, 2.0], [2.0, 1.0], awake=[False, True]))
    assert momentum.score(one([0.0, 0.0], [0.0, 0.0]))["w"].tolist() == [3.0, 1.0]


@pytest.mark.parametrize(
    "scorer", [Movement(), Momentum(), GradientChange(), Smoothed(Taylor())], ids=repr
)
def test_a_parameter_that_a_step_did_not_use_keeps_its_memory(scorer):
    weights = {"a": torch.ones(1), "b": torch.ones(1)}

    def signals(step, **grads):
        return Signals(
            weights=weights, grads={n: torch.tensor([g]) for n, g in grads.items()}, step=step
        )

    scorer.observe(signals(1, a=1.0))
    now = signals(9, a=5.0, b=5.0)
    early = {n: s.clone() for n, s in scorer.score(now).items()}
    scorer.observe(signals(2, b=2.0))
    late = scorer.score(now)
    assert torch.equal(early["a"], late["a"])
    assert not torch.equal(early["b"], late["b"])
    scorer.reset()
    with pytest.raises(MissingSignal, match="'grads' of 'a'"):
        scorer.score(signals(3, b=2.0))


@pytest.mark.parametrize("scorer", [Movement(), Momentum(), Smoothed(Magnitude())], ids=repr)
def test_without_any_gradient_an_observed_parameter_is_still_scored(scorer):
    scorer.observe(one([2.0], [3.0]))
    assert scorer.score(Signals(weights={"w": torch.ones(1)}))["w"].numel() == 1


def test_observing_without_the_signal_at_all_raises():
    nothing = Signals(weights={"w": torch.ones(1)})
    for scorer in (Movement(), Momentum(), GradientChange(), Smoothed(Taylor())):
        with pytest.raises(MissingSignal, match="'grads', which were not gathered"):
            scorer.observe(nothing)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_memory_of_short_floats_is_float32(dtype):
    """In bfloat16 256 + 1 is 256, so that a sum of ones would stop growing."""
    movement, momentum = Movement(), Momentum(decay=0.999)
    signals = Signals(
        weights={"w": torch.ones(1, dtype=dtype)}, grads={"w": -torch.ones(1, dtype=dtype)}
    )
    for _ in range(300):
        movement.observe(signals)
        momentum.observe(signals)
    assert movement.score(signals)["w"].item() == 300
    assert momentum.score(signals)["w"].item() == pytest.approx(1)
    assert movement.state_dict()["sum"]["w"].dtype == torch.float32


def test_gradient_change_refuses_the_step_it_has_just_observed():
    change = GradientChange()
    change.observe(one([1.0], [1.0], step=4))
    with pytest.raises(ValueError, match="scores of step 4 after it observed that step"):
        change.score(one([1.0], [1.0], step=4))


def test_another_shape_is_refused():
    for scorer in (Movement(), Momentum(), GradientChange(), Smoothed(Magnitude())):
        scorer.observe(one([1.0, 2.0], [1.0, 2.0]))
        with pytest.raises(ValueError, match=r"remembers 'w' with shape \(2,\).*now has shape"):
            scorer.score(one([1.0], [1.0], step=1))


def test_smoothing_does_not_see_how_often_it_is_asked():
    smoothed = Smoothed(Magnitude(), decay=0.5)
    smoothed.observe(one([4.0], [0.0]))
    for _ in range(3):
        assert smoothed.score(one([0.0], [0.0]))["w"].tolist() == [4.0]
    smoothed.observe(one([0.0], [0.0], awake=[False]))
    assert smoothed.score(one([9.0], [0.0]))["w"].tolist() == [2.0]


@pytest.mark.parametrize("make", [Movement, Momentum, GradientChange], ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: {}, r"has the keys \[\]; expected"),
        (lambda state: {**state, "more": 1}, r"has the keys .*'more'"),
        (lambda state: {**state, min(state): [1.0]}, "must be a dict"),
        (lambda state: {**state, min(state): {"w": 1.0}}, "'w' is not a tensor by name"),
        (lambda state: {**state, min(state): {"w": torch.ones(1).int()}}, "dtype torch.int32"),
    ],
)
def test_damaged_states_are_refused_and_change_nothing(make, damage, message):
    scorer = make()
    scorer.observe(one([2.0], [3.0], step=1))
    now = one([2.0], [5.0], step=9)
    before = scorer.score(now)["w"]
    with pytest.raises(ValueError, match=message):
        scorer.load_state_dict(damage(scorer.state_dict()))
    assert torch.equal(scorer.score(now)["w"], before)


def test_a_damaged_step_is_refused():
    with pytest.raises(ValueError, match="integer or None, got 'x'"):
        GradientChange().load_state_dict({"last": {}, "step": "x"})


def test_wrappers_load_all_or_nothing():
    both = Sum(Movement(), Momentum())
    both.observe(one([2.0], [3.0]))
    now = one([2.0], [5.0], step=9)
    before = both.score(now)["w"]
    state = both.state_dict()
    good, bad = {"sum": {"w": torch.zeros(1)}}, {"mean": 3}
    with pytest.raises(ValueError, match=r"Momentum\(decay=0.9\): its values must be a dict"):
        both.load_state_dict({"inside": [good, bad]})
    assert torch.equal(both.score(now)["w"], before)
    with pytest.raises(ValueError, match="must hold 2 states inside"):
        both.load_state_dict({"inside": state["inside"][:1]})
    smoothed = Smoothed(Movement())
    with pytest.raises(ValueError, match=r"given to Movement\(\) has the keys \['x'\]"):
        smoothed.load_state_dict({"mean": {"w": torch.ones(1)}, "inside": [{"x": 1}]})
    assert smoothed.state_dict() == {"mean": {}, "inside": [{"sum": {}}]}


@pytest.mark.parametrize("make", [Momentum, lambda decay: Smoothed(FirstMoment(), decay)])
@pytest.mark.parametrize(
    ("decay", "error"),
    [(1.0, ValueError), (-0.1, ValueError), (math.nan, ValueError), ("0.9", TypeError)],
)
def test_wrong_decay(make, decay, error):
    with pytest.raises(error, match=r"(Momentum|Smoothed)\(decay=.*decay must"):
        make(decay)
