"""The Optimal Brain Surgeon where its promises are theorems: quadratics and least squares."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from saliency import (
    OBS,
    CombinatorialOBS,
    GaussNewtonColumns,
    InverseFisher,
    InverseHessian,
    Problem,
    SequentialOBS,
    Signals,
    Woodbury,
)

F64 = torch.float64


def spd(size, seed):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, generator=g, dtype=F64)
    w = torch.randn(size, generator=g, dtype=F64)
    return a @ a.T / size + 0.05 * torch.eye(size, dtype=F64), w


def signals_of(h, w, **more):
    return Signals(weights={"w": w}, curvature={"w": torch.linalg.inv(h)}, **more)


def mask_of(size, chosen):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(chosen)] = True
    return {"w": mask}


@pytest.fixture
def regression():
    """Least squares at its solution: (X, y, layer, problem)."""
    torch.manual_seed(2)
    x = torch.randn(30, 6, dtype=F64) + torch.randn(30, 1, dtype=F64)
    y = torch.randn(30, 1, dtype=F64)
    layer = nn.Linear(6, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    return x, y, layer, Problem(layer, {"weight": layer.weight}, [(x, y)], nn.MSELoss())


# Damping is part of the matrix, and small damping costs digits.
EXACT = [
    (InverseHessian(), 1e-8),
    (InverseFisher(damping=1e-7, rows=GaussNewtonColumns()), 1e-5),
    (Woodbury(damping=1e-7, rows=GaussNewtonColumns()), 1e-5),
]


@pytest.mark.parametrize(("request_", "rtol"), EXACT)
@pytest.mark.parametrize("chosen", [[0], [4], [1, 3], [0, 2, 3, 5]])
def test_removal_from_a_linear_regression_is_the_refit_without_those_columns(
    regression, request_, rtol, chosen
):
    x, y, layer, problem = regression
    weights = {"weight": layer.weight.detach()}
    signals = Signals(weights=weights, curvature=request_(problem))
    mask = torch.zeros(1, 6, dtype=torch.bool)
    mask[0, chosen] = True
    choice, scorer = {"weight": mask}, OBS(request_)
    after = (weights["weight"] + scorer.compensate(choice, signals)["weight"]).masked_fill(mask, 0)
    stay = [i for i in range(6) if i not in chosen]
    refit = torch.linalg.lstsq(x[:, stay], y).solution
    torch.testing.assert_close(after[0, stay], refit[:, 0], rtol=rtol, atol=rtol / 10)
    rise = nn.MSELoss()(x @ after.T, y) - nn.MSELoss()(x @ weights["weight"].T, y)
    assert scorer.loss(choice, signals) == pytest.approx(float(rise), rel=rtol)
    if len(chosen) == 1:
        single = scorer.score(signals)["weight"][0, chosen[0]]
        assert float(single) == pytest.approx(float(rise), rel=rtol)


@given(seed=st.integers(0, 10_000), size=st.integers(2, 9), data=st.data())
@settings(max_examples=40, deadline=None)
def test_joint_removal_is_exact_and_no_worse_than_summed_single_updates(seed, size, data):
    h, w = spd(size, seed)
    chosen = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    signals, choice = signals_of(h, w), mask_of(size, chosen)
    q = choice["w"]
    step = OBS().compensate(choice, signals)["w"].where(~q, -w)
    rise = float(step @ h @ step / 2)
    assert OBS().loss(choice, signals) == pytest.approx(rise, rel=1e-7, abs=1e-12)
    # Summing what each removal alone would ask for, then setting the chosen to 0.
    inverse = torch.linalg.inv(h)
    summed = -(inverse[:, q] * (w / inverse.diagonal())[q]).sum(1)
    summed = summed.where(~q, -w)
    assert rise <= float(summed @ h @ summed / 2) * (1 + 1e-9)
    # And nothing else the survivors could do is better.
    other = step + torch.randn(size, dtype=F64).masked_fill(q, 0) * 0.1
    assert rise <= float(other @ h @ other / 2) * (1 + 1e-9)


@given(seed=st.integers(0, 10_000), size=st.integers(2, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_sleeper_is_as_if_it_were_not_there(seed, size, data):
    h, w = spd(size, seed)
    asleep = data.draw(st.sets(st.integers(0, size - 1), max_size=size - 1))
    up = ~mask_of(size, asleep)["w"]
    w = w * up
    signals = signals_of(h, w, awake={"w": up})
    small = signals_of(h[up][:, up], w[up])
    for scorer in (OBS(), SequentialOBS()):
        scores = scorer.score(signals)["w"]
        torch.testing.assert_close(scores[up], scorer.score(small)["w"], rtol=1e-8, atol=1e-12)
        assert not scores[~up].any()
    first = int(up.nonzero()[0])
    update = OBS().compensate(mask_of(size, [first]), signals)["w"]
    expected = OBS().compensate(mask_of(int(up.sum()), [0]), small)["w"]
    torch.testing.assert_close(update[up], expected, rtol=1e-8, atol=1e-10)
    assert not update[~up].any()


@given(seed=st.integers(0, 10_000), size=st.integers(2, 9), data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_k_lowest_sequential_scores_are_the_first_k_removals(seed, size, data):
    h, w = spd(size, seed)
    signals = signals_of(h, w)
    count = data.draw(st.integers(1, size))
    order = SequentialOBS().score(signals)["w"].argsort().tolist()
    # One at a time, each through the public single-weight rule, sleepers piling up.
    value, up, path = w.clone(), torch.ones(size, dtype=torch.bool), []
    for _ in range(count):
        now = signals_of(h, value, awake={"w": up})
        scores = OBS().score(now)["w"].masked_fill(~up, torch.inf)
        path.append(int(scores.argmin()))
        value = value + OBS().compensate(mask_of(size, path[-1:]), now)["w"]
        value[path[-1]], up[path[-1]] = 0, False
    assert order[:count] == path
    joint = w + OBS().compensate(mask_of(size, path), signals)["w"]
    torch.testing.assert_close(joint[up], value[up], rtol=1e-7, atol=1e-9)
    short = SequentialOBS(steps=count).score(signals)["w"]
    assert short.argsort().tolist()[:count] == path


def by_brute_force(h, w, count):
    signals = signals_of(h, w)
    sets = itertools.combinations(range(len(w)), count)
    return min(OBS().loss(mask_of(len(w), q), signals) for q in sets)


def test_exchanges_are_never_worse_than_greedy_and_often_better():
    better = optimal_greedy = optimal = 0
    for seed in range(30):
        h, w = spd(10, seed)
        signals = signals_of(h, w)

        def loss(scorer, signals=signals):
            lowest = scorer.score(signals)["w"].argsort()[:5].tolist()
            return OBS().loss(mask_of(10, lowest), signals)

        greedy, joint = loss(SequentialOBS()), loss(CombinatorialOBS(fraction=0.5))
        best = by_brute_force(h, w, 5)
        assert best * (1 - 1e-9) <= joint <= greedy * (1 + 1e-9)
        better += joint < greedy * (1 - 1e-6)
        optimal_greedy += greedy <= best * (1 + 1e-6)
        optimal += joint <= best * (1 + 1e-6)
    assert better >= 5
    assert optimal > optimal_greedy


def test_no_exchange_is_greedy():
    h, w = spd(10, 3)
    signals = signals_of(h, w)
    lowest = CombinatorialOBS(fraction=0.5, exchanges=0).score(signals)["w"].argsort()[:5]
    assert set(lowest.tolist()) == set(SequentialOBS().score(signals)["w"].argsort()[:5].tolist())


def test_sleepers_count_towards_the_fraction():
    h, w = spd(10, 4)
    up = torch.ones(10, dtype=torch.bool)
    up[[1, 2, 3]] = False
    scores = CombinatorialOBS(fraction=0.5).score(signals_of(h, w * up, awake={"w": up}))["w"]
    # Two more go: they score below the loss of the set, all others at or above it.
    values = scores[up].sort().values
    assert values[0] == 0
    assert values[1] < values[2]
    assert not scores[~up].any()


def test_blocks_choose_across_tensors(make_problem):
    problem = make_problem("mlp-tanh")
    request = InverseFisher(block=4, damping=0.01)
    weights = {n: p.detach() for n, p in problem.params.items()}
    signals = Signals(weights=weights, curvature=request(problem))
    size = sum(w.numel() for w in weights.values())

    def lowest(scorer, count):
        scores = scorer.score(signals)
        flat = torch.cat([s.flatten() for s in scores.values()])
        mask = torch.zeros(size, dtype=torch.bool)
        mask[flat.argsort(stable=True)[:count]] = True
        parts = mask.split([s.numel() for s in scores.values()])
        return {n: p.reshape(weights[n].shape) for n, p in zip(scores, parts, strict=True)}

    count = int(0.5 * size + 0.5)
    single, greedy, joint = (
        OBS(request).loss(lowest(scorer, count), signals)
        for scorer in (OBS(request), SequentialOBS(request), CombinatorialOBS(request, 0.5))
    )
    assert joint <= greedy * (1 + 1e-9)
    assert greedy < single


def test_the_update_has_the_weights_dtype():
    signals = Signals(
        weights={"w": torch.ones(2, dtype=torch.float16)},
        curvature={"w": torch.linalg.inv(torch.tensor([[2.0, 1.0], [1.0, 4.0]]))},
    )
    update = OBS().compensate(mask_of(2, [0]), signals)["w"]
    assert update.dtype == torch.float16
    assert update.tolist() == [0.0, 0.25]
    assert OBS().compensate({}, signals)["w"].tolist() == [0.0, 0.0]
