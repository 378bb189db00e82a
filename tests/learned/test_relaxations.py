"""Relaxations: values by hand, gradients by finite differences, counts, distributions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from sleepengine.errors import SetupError
from sleepengine.learned.deterministic import StraightThrough, TopK
from sleepengine.learned.noise import uniform
from sleepengine.learned.relaxation import Place, logistic, straight_through
from sleepengine.learned.stochastic import GumbelSigmoid, HardConcrete

PLACE = Place("w", torch.Size([3]), torch.float64, torch.device("cpu"), fan_in=4)
LOGITS = torch.tensor([-1.5, 0.25, 2.0], dtype=torch.float64)
UNIFORM = torch.tensor([0.7, 0.3, 0.55], dtype=torch.float64)
ALL = [GumbelSigmoid(), HardConcrete(), StraightThrough(), TopK(), TopK(hard=False)]


def noise_of(relaxation) -> Tensor | None:
    return UNIFORM if relaxation.draws else None


def test_gumbel_by_hand():
    # u = 0.8: noise = log 4; l = log 2: s = sigmoid(log 8) = 8/9
    logit, u = torch.tensor([math.log(2)]), torch.tensor([0.8])
    assert GumbelSigmoid(hard=False).gates(logit, u).item() == pytest.approx(8 / 9)
    # temperature 2: sigmoid(log 8 / 2) = sqrt 8 / (1 + sqrt 8)
    soft = GumbelSigmoid(temperature=2.0, hard=False).gates(logit, u).item()
    assert soft == pytest.approx(8**0.5 / (1 + 8**0.5))
    assert GumbelSigmoid().gates(logit, u).item() == 1.0
    assert GumbelSigmoid().start(PLACE).tolist() == [2.0, 2.0, 2.0]
    assert GumbelSigmoid().penalty(LOGITS).item() == 0.75


def test_hard_concrete_by_hand():
    relaxation = HardConcrete()
    # l = 0 and u = 1/2: s = 1/2, z = 0.5 * 1.2 - 0.1 = 0.5
    assert relaxation.gates(torch.zeros(1), torch.tensor([0.5])).item() == pytest.approx(0.5)
    assert relaxation.expected(torch.tensor([math.log(3)])).item() == pytest.approx(0.8)
    assert relaxation.expected(torch.tensor([-4.0, 4.0])).tolist() == [0.0, 1.0]
    logits = torch.tensor([-9.0, 0.0, 9.0])
    relaxation.clamp_(logits)
    assert logits.exp().tolist() == pytest.approx([0.01, 1.0, 100.0])
    assert relaxation.awake(torch.tensor([-0.1, 0.0])).tolist() == [False, True]


def test_hard_concrete_off_centre_still_rounds_the_mean():
    relaxation = HardConcrete(low=-0.5, high=1.1)
    below, above = relaxation.centre - 1e-6, relaxation.centre + 1e-6
    logits = torch.tensor([below, above], dtype=torch.float64)
    assert (relaxation.expected(logits) > 0.5).tolist() == relaxation.awake(logits).tolist()
    assert relaxation.awake(logits).tolist() == [False, True]


def test_straight_through_thresholds_as_piggyback():
    relaxation = StraightThrough()
    logits = torch.tensor([0.004, 0.005, 0.0051, 0.01])
    assert relaxation.gates(logits, None).tolist() == [0.0, 0.0, 1.0, 1.0]
    assert relaxation.awake(relaxation.start(PLACE)).all()
    assert StraightThrough(hard=False).gates(logits, None) is logits


def test_straight_through_value_is_exact():
    soft = uniform(0, 0, "w", (1000,)) * 7 - 3
    assert set(straight_through(soft > 0, soft).tolist()) == {0.0, 1.0}


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=40), st.floats(0, 0.99))
def test_top_k_counts_and_ties_are_exact(values, share):
    logits = torch.tensor(values, dtype=torch.float32)
    asleep = [not awake for awake in TopK(share).awake(logits).tolist()]
    wanted = min(math.floor(share * len(values) + 0.5), len(values) - 1)
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), i))
    assert [i for i, a in enumerate(asleep) if a] == sorted(order[:wanted])


def test_top_k_gradient_is_that_of_the_size():
    logits = torch.tensor([0.1, -0.4, 0.2, -0.1], requires_grad=True)
    gates = TopK(0.5).gates(logits, None)
    assert gates.tolist() == [0.0, 1.0, 1.0, 0.0]
    gates.sum().backward()
    assert logits.grad.tolist() == [1.0, -1.0, 1.0, -1.0]


def test_soft_top_k_parts_at_the_same_place_and_passes_gradients():
    logits = torch.tensor([0.1, -0.4, 0.2, 0.1], requires_grad=True)
    soft = TopK(0.5, hard=False, temperature=0.5)
    gates = soft.gates(logits, None)
    # c = (0.1 + 0.2) / 2, T = 0.5 * 0.2: sigmoid of -0.5, 2.5, 0.5, -0.5
    wanted = torch.tensor([-0.5, 2.5, 0.5, -0.5]).sigmoid()
    torch.testing.assert_close(gates, wanted)
    torch.testing.assert_close(soft.expected(logits), wanted)
    assert soft.awake(logits).tolist() == TopK(0.5).awake(logits).tolist()
    gates.sum().backward()
    slope = wanted * (1 - wanted) / 0.1
    torch.testing.assert_close(logits.grad, slope * torch.tensor([1.0, -1.0, 1.0, 1.0]))


@pytest.mark.parametrize("hard", [True, False])
def test_top_k_with_nothing_asleep_is_all_ones(hard):
    logits = torch.tensor([0.1, -0.4], requires_grad=True)
    gates = TopK(0.0, hard=hard).gates(logits, None)
    assert gates.tolist() == [1.0, 1.0]
    gates.sum().backward()
    assert logits.grad.tolist() == [1.0, -1.0]


def test_top_k_starts_within_the_layers_scale_and_by_seed():
    place = Place("w", torch.Size([100, 4]), torch.float32, torch.device("cpu"), 4, seed=1)
    first = TopK().start(place)
    assert first.abs().max() <= 0.5
    assert first.abs().max() > 0.48
    assert torch.equal(first, TopK().start(place))
    assert not torch.equal(first[:3, 0], TopK().start(PLACE).float())


@pytest.mark.parametrize(
    "relaxation",
    [GumbelSigmoid(0.7, hard=False), HardConcrete(), StraightThrough(hard=False)],
    ids=repr,
)
def test_soft_gradients_agree_with_finite_differences(relaxation):
    logits = LOGITS.clone().requires_grad_(True)
    assert gradcheck(lambda x: relaxation.gates(x, noise_of(relaxation)), (logits,))
    assert gradcheck(relaxation.penalty, (logits,))


@pytest.mark.parametrize(
    ("hard", "soft"),
    [
        (GumbelSigmoid(0.7), GumbelSigmoid(0.7, hard=False)),
        (HardConcrete(hard=True), HardConcrete()),
        (StraightThrough(), StraightThrough(hard=False)),
    ],
    ids=lambda r: repr(r),
)
def test_hard_gates_are_binary_with_the_soft_gradient(hard, soft):
    grads = []
    for relaxation in (hard, soft):
        logits = LOGITS.clone().requires_grad_(True)
        gates = relaxation.gates(logits, noise_of(relaxation))
        assert (set(gates.tolist()) <= {0.0, 1.0}) == (relaxation is hard)
        (gates * UNIFORM).sum().backward()
        grads.append(logits.grad)
    assert torch.equal(*grads)


def test_gumbel_is_awake_as_often_as_it_says():
    for logit in (-1.0, 0.0, 2.0):
        drawn = uniform(0, 1, f"w{logit}", (200_000,))
        share = GumbelSigmoid().gates(torch.full((200_000,), logit), drawn).mean().item()
        assert share == pytest.approx(torch.tensor(logit).sigmoid().item(), abs=3e-3)


def test_one_draw_has_the_distribution_of_two():
    u0, u1 = uniform(0, 2, "w", (2, 200_000), dtype=torch.float64)
    two = (-(u1.log() / u0.log()).log()).sort().values
    one = logistic(uniform(0, 3, "w", (200_000,), dtype=torch.float64)).sort().values
    at = torch.tensor([2_000, 50_000, 100_000, 150_000, 198_000])
    torch.testing.assert_close(one[at], two[at], atol=0.06, rtol=0)


def test_hard_concrete_penalty_is_the_probability_of_being_above_zero():
    relaxation = HardConcrete()
    for logit in (-2.0, 0.5):
        gates = relaxation.gates(torch.full((200_000,), logit), uniform(0, 4, "w", (200_000,)))
        share = (gates > 0).double().mean().item()
        assert share == pytest.approx(relaxation.penalty(torch.tensor([logit])).item(), abs=3e-3)


@pytest.mark.parametrize("relaxation", ALL, ids=repr)
def test_contract(relaxation):
    """Shapes, gradient, equality, and a start that a warm start of span 1 keeps awake."""
    first = relaxation.start(PLACE).requires_grad_(True)
    gates = relaxation.gates(first, noise_of(relaxation))
    assert gates.shape == first.shape
    assert gates.requires_grad
    assert relaxation.awake(first).dtype == torch.bool
    assert not relaxation.expected(first).requires_grad
    assert relaxation == replace(relaxation)
    ranks = torch.tensor([0.5, 1 / 6, 5 / 6], dtype=torch.float64)
    warm = relaxation.warm(PLACE, ranks, 1.0)
    assert warm.argsort().tolist() == [1, 0, 2]
    if not isinstance(relaxation, TopK):
        assert relaxation.awake(warm).all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GumbelSigmoid(temperature=0), "temperature must be above 0"),
        (lambda: GumbelSigmoid(init=math.nan), "init must be a finite number"),
        (lambda: HardConcrete(low=0.1), "low must be below 0"),
        (lambda: HardConcrete(high=1), "high must be above 1"),
        (lambda: HardConcrete(init=9), "init must be in -4.61 .. 4.61"),
        (lambda: StraightThrough(threshold="5e-3"), "threshold must be a finite number"),
        (lambda: TopK(1.0), "asleep must be from 0 to below 1"),
        (lambda: TopK(True), "asleep must be"),
        (lambda: TopK(temperature=0.0), "temperature must be above 0"),
        (lambda: GumbelSigmoid().gates(LOGITS, None), "draws noise: give uniform numbers"),
        (lambda: GumbelSigmoid(init=0.0).warm(PLACE, UNIFORM, 1.0), "give a larger init="),
    ],
)
def test_errors(build, message):
    with pytest.raises(SetupError, match=message):
        build()
