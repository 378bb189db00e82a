"""A trained XOR network: the surgeon takes the right weight; common shortcuts do not."""

import copy

import pytest
import torch
from torch import nn

from saliency import (
    OBD,
    OBS,
    GaussNewtonColumns,
    GaussNewtonDiagonal,
    InverseFisher,
    Magnitude,
    Problem,
    SampleGradients,
    Signals,
)

F64 = torch.float64
X = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=F64)
Y = torch.tensor([[0], [1], [1], [0]], dtype=F64)
P = 4


def half(output, target):
    return (output - target).square().mean() / 2


def train(net, without=None, rounds=6):
    """To the minimum; the entry (name, index) stays at 0."""
    optimizer = torch.optim.LBFGS(
        net.parameters(),
        max_iter=60,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
    )

    def closure():
        optimizer.zero_grad()
        loss = half(net(X), Y)
        loss.backward()
        if without is not None:
            net.get_parameter(without[0]).grad.view(-1)[without[1]] = 0
        return loss

    for _ in range(rounds):
        optimizer.step(closure)
    return loss_of(net)


@pytest.fixture(scope="module")
def xor():
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    assert train(net, rounds=40) < 1e-10
    return net, Problem(net, dict(net.named_parameters()), [(X, Y)], half)


def signals_of(problem, request):
    weights = {n: p.detach() for n, p in problem.params.items()}
    return Signals(weights=weights, curvature=request(problem))


@torch.no_grad()
def loss_of(net):
    return float(half(net(X), Y))


def first_to_go(scores):
    entries = [(float(s), n, i) for n, t in scores.items() for i, s in enumerate(t.flatten())]
    return min(entries)[1:]


def without(net, entry, update=None):
    """A copy with the entry at 0, and its parameters moved."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in other.named_parameters():
            if update is not None:
                p += update[name]
        other.get_parameter(entry[0]).view(-1)[entry[1]] = 0
    return other


SURGEON = InverseFisher(damping=1e-8, rows=GaussNewtonColumns())


def test_only_the_surgeon_takes_a_weight_that_the_network_can_do_without(xor):
    net, problem = xor
    picks = {
        "surgeon": first_to_go(OBS(SURGEON).score(signals_of(problem, SURGEON))),
        "damage": first_to_go(
            OBD(GaussNewtonDiagonal()).score(signals_of(problem, GaussNewtonDiagonal()))
        ),
        "magnitude": first_to_go(Magnitude().score(signals_of(problem, SURGEON))),
    }
    refit = {who: train(without(net, pick), pick) for who, pick in picks.items()}
    assert refit["surgeon"] < 1e-8
    assert refit["damage"] > 0.05
    assert refit["magnitude"] > 0.05


def test_leaving_the_update_out_costs_many_times_more(xor):
    net, problem = xor
    signals = signals_of(problem, SURGEON)
    pick = first_to_go(OBS(SURGEON).score(signals))
    choice = {pick[0]: torch.zeros_like(signals.weights[pick[0]], dtype=torch.bool)}
    choice[pick[0]].view(-1)[pick[1]] = True
    update = OBS(SURGEON).compensate(choice, signals)
    compensated = loss_of(without(net, pick, update))
    assert loss_of(without(net, pick)) > 20 * compensated


def test_loss_gradients_in_place_of_output_gradients_say_nothing_at_a_minimum(xor):
    _, problem = xor
    wrong = InverseFisher(damping=1e-8, rows=SampleGradients())
    signals = signals_of(problem, wrong)
    # They vanish with the residuals, so that what is left is magnitude.
    assert first_to_go(OBS(wrong).score(signals)) == first_to_go(Magnitude().score(signals))


def test_wrong_recursions_do_not_invert(xor):
    _, problem = xor
    rows = torch.cat([r for r, _ in GaussNewtonColumns().each(problem)])
    size, damping = rows.shape[1], 1e-2
    matrix = rows.T @ rows / P + damping * torch.eye(size, dtype=F64)

    def recursion(update):
        inverse = torch.eye(size, dtype=F64) / damping
        for x in rows:
            inverse = inverse - update(inverse @ x, x @ inverse @ x)
        return inverse

    def error(inverse):
        return float((inverse @ matrix - torch.eye(size, dtype=F64)).abs().max())

    right = recursion(lambda hx, xhx: torch.outer(hx, hx) / (P + xhx))
    precedence = recursion(lambda hx, xhx: torch.outer(hx, hx) / P + xhx)
    unscaled = recursion(lambda hx, xhx: torch.outer(hx, hx) / (1 + xhx))
    request = InverseFisher(damping=damping, rows=GaussNewtonColumns())
    ours = torch.cat(list(request(problem).values()))
    assert error(ours) < 1e-10
    torch.testing.assert_close(ours, right, rtol=1e-9, atol=1e-9)
    for wrong in (precedence, unscaled, ours.abs()):
        assert error(wrong) > 0.1
