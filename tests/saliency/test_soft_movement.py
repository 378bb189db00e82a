"""Soft movement against its recursion written out, and against autograd."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency import Movement, Signals, SoftMovement


def one(w, g, awake=None):
    return Signals(
        weights={"w": torch.tensor([w], dtype=torch.float64)},
        grads={"w": torch.tensor([g], dtype=torch.float64)},
        awake={} if awake is None else {"w": torch.tensor([awake])},
    )


STEPS = st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, penalty=st.floats(0, 3), rate=st.floats(0.01, 2))
def test_the_recursion(steps, penalty, rate):
    soft, s = SoftMovement(penalty, rate), 0.0
    for w, g in steps:
        soft.observe(one(w, g))
        sigmoid = 1 / (1 + math.exp(-s))
        s -= rate * (w * g + penalty * sigmoid * (1 - sigmoid))
    assert soft.score(one(0.0, 0.0))["w"].item() == pytest.approx(s, abs=1e-9)


def test_the_penalty_is_the_gradient_of_the_sum_of_sigmoids():
    soft = SoftMovement(penalty=0.7, rate=0.1)
    scores = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([scores], lr=0.1)
    for w, g in [(1.0, -2.0), (0.5, 1.0), (-1.0, 3.0)]:
        soft.observe(one(w, g))
        optimizer.zero_grad()
        (w * g * scores + 0.7 * torch.sigmoid(scores)).sum().backward()
        optimizer.step()
    torch.testing.assert_close(soft.score(one(0.0, 0.0))["w"], scores.detach())


def test_without_penalty_it_is_movement():
    soft, hard = SoftMovement(penalty=0), Movement()
    for w, g in [(1.0, -2.0), (0.5, 1.0)]:
        soft.observe(one(w, g))
        hard.observe(one(w, g))
    assert torch.equal(soft.score(one(0, 0))["w"], hard.score(one(0, 0))["w"])


def test_sleeping_weights_feel_the_penalty_alone():
    soft = SoftMovement(penalty=0.4)
    soft.observe(one(3.0, float("inf"), awake=False))
    assert soft.score(one(0.0, 0.0))["w"].item() == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"penalty": -1}, ValueError, "penalty must be 0 or more"),
        ({"penalty": "1"}, TypeError, "penalty must be a number"),
        ({"rate": 0}, ValueError, "rate must be above 0"),
        ({"rate": float("nan")}, ValueError, "rate must be finite"),
    ],
)
def test_wrong_arguments(arguments, error, said):
    with pytest.raises(error, match=said):
        SoftMovement(**arguments)
