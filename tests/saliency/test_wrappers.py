import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency import (
    AnchorMagnitude,
    Gradient,
    Lamp,
    Magnitude,
    MagnitudeIncrease,
    MaxScale,
    MeanScale,
    Momentum,
    Movement,
    Normalized,
    Random,
    Scorer,
    Signals,
    Smoothed,
    Snip,
    StdScale,
    Sum,
    SumScale,
    Taylor,
)


def slow_lamp(scores):
    """The definition: ascending by score, then by index; exact fractions."""
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    out = [Fraction(0)] * len(scores)
    for rank, u in enumerate(order):
        below = sum((Fraction(scores[v]) for v in order[rank:]), Fraction(0))
        if below:
            out[u] = Fraction(scores[u]) / below
    return [float(x) for x in out]


@settings(max_examples=60, deadline=None)
@given(
    w=st.lists(
        st.one_of(st.floats(-100, 100).map(lambda x: round(x, 3)), st.sampled_from([0.0, 1.0])),
        max_size=12,
    )
)
def test_lamp_equals_the_definition(w):
    tensor = torch.tensor(w, dtype=torch.float64)
    scores = Lamp().score(Signals(weights={"w": tensor}))["w"]
    assert scores.tolist() == pytest.approx(slow_lamp(tensor.square().tolist()), rel=1e-12)


@pytest.mark.parametrize(
    ("w", "expected"),
    [
        ([1.0, 2.0, 3.0], [1 / 14, 4 / 13, 1.0]),
        ([3.0, -2.0, 1.0], [1.0, 4 / 13, 1 / 14]),
        ([1.0, 1.0, 1.0], [1 / 3, 1 / 2, 1.0]),
        ([0.0, 2.0, 0.0], [0.0, 1.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([5.0], [1.0]),
        ([], []),
    ],
)
def test_lamp_by_hand(w, expected):
    scores = Lamp().score(Signals(weights={"w": torch.tensor(w)}))["w"]
    assert scores.tolist() == pytest.approx(expected)


def test_lamp_counts_terms_that_a_float32_sum_would_lose():
    """2^-25 added to 1 in float32 is 1, 2^17 times in a row; their true sum is 2^-8."""
    q = torch.cat([torch.full((1 << 17,), 2.0**-25), torch.ones(1)])
    scores = Lamp(Magnitude()).score(Signals(weights={"w": q}))["w"]
    assert scores[0].item() == pytest.approx(2.0**-25 / (1 + 2.0**-8), rel=1e-7)
    assert scores[-1].item() == 1


def test_lamp_refuses_negative_scores_and_shows_not_a_number():
    signals = Signals(weights={"w": torch.tensor([1.0])}, anchor={"w": torch.tensor([3.0])})
    with pytest.raises(ValueError, match=r"must be 0 or more, but 'w' has -2.0"):
        Lamp(MagnitudeIncrease()).score(signals)
    w = torch.tensor([math.nan, 1.0])
    assert Lamp().score(Signals(weights={"w": w}))["w"].isnan().any()


def test_lamp_keeps_the_shape_of_a_turned_weight():
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t()
    scores = Lamp().score(Signals(weights={"w": w}))["w"]
    assert scores.shape == w.shape
    assert scores.argmax() == w.argmax()
    assert scores.argmin() == w.argmin()


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        # awake scores 1, 3
        (MeanScale(), [0.5, 1.5, 0.0]),
        (SumScale(), [0.25, 0.75, 0.0]),
        (MaxScale(), [1 / 3, 1.0, 0.0]),
        (StdScale(), [1.0, 3.0, 0.0]),
    ],
)
@pytest.mark.parametrize("factor", [1.0, 1e-6, 1e6])
def test_normalized_by_hand(by, expected, factor):
    signals = Signals(
        weights={"w": torch.tensor([factor, -3 * factor, 0.0])},
        awake={"w": torch.tensor([True, True, False])},
    )
    scores = Normalized(Magnitude(), by=by).score(signals)["w"]
    assert scores.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("by", [MeanScale(), SumScale(), MaxScale(), StdScale()])
def test_normalized_leaves_a_tensor_without_scale_alone_and_keeps_signs(by):
    zero = Signals(weights={"w": torch.zeros(3), "empty": torch.zeros(0, 2)})
    scores = Normalized(Magnitude(), by).score(zero)
    assert scores["w"].tolist() == [0.0, 0.0, 0.0]
    assert scores["empty"].shape == (0, 2)
    asleep = Signals(
        weights={"w": torch.zeros(2)},
        grads={"w": torch.tensor([2.0, 3.0])},
        awake={"w": torch.tensor([False, False])},
    )
    assert Normalized(Gradient(), by).score(asleep)["w"].tolist() == [2.0, 3.0]
    signed = Signals(weights={"w": torch.ones(2)}, anchor={"w": torch.tensor([0.0, 3.0])})
    signs = Normalized(MagnitudeIncrease(), by).score(signed)["w"].sign()
    assert signs.tolist() == [1.0, -1.0]


class PerRow(Scorer):
    """Scores that broadcast: one per row."""

    def score(self, signals):
        return {name: w.abs().sum(1, keepdim=True) for name, w in signals.weights.items()}


@pytest.mark.parametrize("make", [Normalized, Lamp, Smoothed, lambda s: Sum(s, s)])
def test_wrappers_take_scores_that_broadcast(make):
    signals = Signals(
        weights={"w": torch.tensor([[1.0, 1.0], [3.0, 3.0]])},
        awake={"w": torch.tensor([[True, False], [True, True]])},
    )
    scorer = make(PerRow())
    scorer.observe(signals)
    scores = scorer.score(signals)["w"].expand(2, 2)
    assert (scores[1] > scores[0]).all()


def test_normalized_weighs_the_awake_entries_of_scores_that_broadcast():
    signals = Signals(
        weights={"w": torch.tensor([[1.0, 1.0], [3.0, 3.0]])},
        awake={"w": torch.tensor([[True, False], [True, True]])},
    )
    # awake: 2, 6, 6
    scores = Normalized(PerRow(), by=SumScale()).score(signals)["w"]
    assert scores.flatten().tolist() == pytest.approx([2 / 14, 6 / 14])


def test_sum_by_hand():
    signals = Signals(
        weights={"w": torch.tensor([3.0, -1.0])}, grads={"w": torch.tensor([0.5, 4.0])}
    )
    assert Sum(Magnitude(), Gradient()).score(signals)["w"].tolist() == [3.5, 5.0]
    both = Sum(Magnitude(), Gradient(), weights=(2, -1))
    assert both.score(signals)["w"].tolist() == [5.5, -2.0]
    three = Sum(both, Magnitude())
    assert three.score(signals)["w"].tolist() == [8.5, -1.0]


def test_what_wrappers_pass_on():
    both = Sum(AnchorMagnitude("500it"), Momentum())
    for scorer in (both, Normalized(both), Lamp(both), Smoothed(both)):
        assert scorer.needs == {"weights", "anchor", "grads"}
        assert scorer.anchor == "500it"
        assert scorer.accumulates
    assert not Normalized(Taylor()).accumulates
    assert Smoothed(Taylor()).accumulates
    assert Lamp().needs == {"weights"}
    assert Lamp().anchor is None


@pytest.mark.parametrize(
    ("scorer", "elementwise", "equivariant"),
    [
        (Sum(Magnitude(), Gradient()), True, True),
        (Sum(Magnitude(), Random()), True, False),
        (Sum(Magnitude(), Snip()), False, True),
        (Normalized(Magnitude()), False, True),
        (Lamp(), False, True),
        (Smoothed(Movement()), True, True),
        (Smoothed(Snip()), False, True),
    ],
    ids=repr,
)
def test_what_wrappers_promise(scorer, elementwise, equivariant):
    assert (scorer.elementwise, scorer.equivariant) == (elementwise, equivariant)


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"Normalized\(scorer=Taylor\).*Did you mean Taylor\(\)\?"):
        Normalized(Taylor)
    with pytest.raises(TypeError, match=r"Normalized\(by='mean'\): by must be MeanScale\(\)"):
        Normalized(Taylor(), by="mean")
    with pytest.raises(TypeError, match=r"Lamp\(scorer=None\)"):
        Lamp(None)
    with pytest.raises(TypeError, match=r"Smoothed\(scorer='x'\)"):
        Smoothed("x")
    assert Sum(Magnitude(), Magnitude(), weights=[1, 2]).weights == (1, 2)
    with pytest.raises(TypeError, match=r"Sum\(b=3\)"):
        Sum(Magnitude(), 3)
    for weights in [(1.0,), (1.0, 2.0, 3.0), 1.0]:
        with pytest.raises(ValueError, match=r"Sum\(weights=.*must be two numbers"):
            Sum(Magnitude(), Magnitude(), weights=weights)
    with pytest.raises(ValueError, match=r"Sum\(weights=inf\): weights must be finite"):
        Sum(Magnitude(), Magnitude(), weights=(math.inf, 1.0))
    with pytest.raises(TypeError, match=r"Sum\(weights='1'\): weights must be a number, not str"):
        Sum(Magnitude(), Magnitude(), weights=("1", 1.0))
    with pytest.raises(ValueError, match=r"different kept points, \['500it', 'init'\]"):
        Sum(AnchorMagnitude("init"), MagnitudeIncrease("500it"))


def test_when_to_observe_is_that_of_the_scorers_inside():
    assert Normalized(Movement()).before_step
    assert not Sum(Movement(), Momentum()).before_step  # differences want the step scored first
    assert not Normalized(Magnitude()).before_step
