"""GraSP and SynFlow against dense Hessians and paths counted one by one, in float64."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.utils.checkpoint import checkpoint

from saliency import GraSP, HessianGradient, Signals, SynapticFlow, SynFlow, synaptic_flow_steps
from saliency.problem import Problem

D = torch.float64


def mlp(*widths):
    torch.manual_seed(0)
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)]
    between = [part for layer in layers for part in (layer, nn.Tanh())][:-1]
    return nn.Sequential(*between).double()


def problem_of(model, batches, names=None, loss=None):
    params = dict(model.named_parameters())
    names = list(params) if names is None else names
    return Problem(model, {n: params[n] for n in names}, batches, loss or nn.MSELoss())


def data(*sizes):
    torch.manual_seed(1)
    return [(torch.randn(n, 3, dtype=D), torch.randn(n, 2, dtype=D)) for n in sizes]


def flat(tensors):
    return torch.cat([t.reshape(-1) for t in tensors.values()])


def test_the_product_is_that_of_the_dense_hessian():
    model, batches = mlp(3, 4, 2), data(5, 3)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    params = {n: p.detach() for n, p in model.named_parameters()}

    def loss(params):
        return nn.functional.mse_loss(functional_call(model, params, (x,)), y)

    g = flat(torch.func.grad(loss)(params))
    blocks = hessian(loss)(params)
    sizes = {n: p.numel() for n, p in params.items()}
    rows = [
        torch.cat([blocks[a][b].reshape(sizes[a], sizes[b]) for b in params], dim=1) for a in params
    ]
    expected = torch.cat(rows) @ g
    found = HessianGradient()(problem_of(model, batches))
    torch.testing.assert_close(flat(found), expected, rtol=1e-8, atol=1e-12)
    scores = GraSP().score(Signals(weights=params, curvature=found))
    torch.testing.assert_close(flat(scores), flat(params) * expected, rtol=1e-8, atol=1e-12)


def test_a_low_score_is_a_weight_whose_sleep_makes_the_gradient_grow():
    model, batches = mlp(3, 4, 2), data(64)
    curvature = HessianGradient()(problem_of(model, batches))
    weights = {n: p.detach().clone() for n, p in model.named_parameters()}
    scores = GraSP().score(Signals(weights=weights, curvature=curvature))
    x, y = batches[0]

    def squared_norm(change):
        changed = {n: weights[n] + change.get(n, 0) for n in weights}
        grad = torch.func.grad(
            lambda p: nn.functional.mse_loss(functional_call(model, p, (x,)), y)
        )(changed)
        return float(flat(grad).square().sum())

    # A small step of each weight towards 0: d |g|^2 = -2 w (H g) step.
    for name, step in itertools.product(weights, (1e-5,)):
        for place in range(3):
            move = torch.zeros_like(weights[name]).reshape(-1)
            move[place] = -step * weights[name].reshape(-1)[place]
            grown = squared_norm({name: move.reshape(weights[name].shape)}) - squared_norm({})
            expected = -2 * step * float(scores[name].reshape(-1)[place])
            assert grown == pytest.approx(expected, rel=1e-2, abs=1e-12)


def linear_net(*widths):
    torch.manual_seed(0)
    return nn.Sequential(
        *[nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)]
    ).double()


def test_synflow_counts_paths():
    model = linear_net(2, 3, 2)
    batches = [(torch.zeros(4, 2, dtype=D), torch.zeros(4))]
    flow = SynapticFlow()(problem_of(model, batches))
    weights = {n: p.detach() for n, p in model.named_parameters()}
    scores = SynFlow().score(Signals(weights=weights, curvature=flow))
    a, b = (w.abs() for w in weights.values())
    first, second = torch.zeros_like(a), torch.zeros_like(b)
    for i, j, k in itertools.product(range(2), range(3), range(2)):
        path = a[j, i] * b[k, j]
        first[j, i] += path
        second[k, j] += path
    torch.testing.assert_close(scores["0.weight"], first)
    torch.testing.assert_close(scores["1.weight"], second)


def test_synflow_is_conserved_from_layer_to_layer():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4, bias=False)
    )
    batches = [(torch.randn(2, 2, 4, 4), torch.zeros(2))]
    flow = SynapticFlow()(problem_of(model, batches))
    weights = {n: p.detach() for n, p in model.named_parameters()}
    scores = SynFlow().score(Signals(weights=weights, curvature=flow))
    sums = [float(s.sum()) for s in scores.values()]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    assert all(bool((s >= 0).all()) for s in scores.values())


def test_synflow_reads_no_data_and_changes_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    flows = [
        SynapticFlow()(problem_of(model, [(x, torch.zeros(5))], ["0.weight", "2.weight"]))
        for x in (torch.randn(5, 3), torch.full((5, 3), float("nan")))
    ]
    assert all(torch.equal(flows[0][n], flows[1][n]) for n in flows[0])
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_deep_flow_needs_float64():
    model = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(40)])
    for layer in model:
        nn.init.constant_(layer.weight, 1.0)  # 64^40 paths: 2^240
    batches = [(torch.zeros(1, 64), torch.zeros(1))]
    flow = SynapticFlow()(problem_of(model, batches, ["0.weight"]))
    assert bool(flow["0.weight"].isfinite().all())


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ((torch.zeros(2, 3, dtype=torch.long), torch.zeros(2)), "inputs have dtype torch.int64"),
        ({"x": torch.zeros(2, 3)}, r"must be a pair \(input, target\)"),
    ],
)
def test_inputs_that_ones_cannot_replace(batch, said):
    with pytest.raises(ValueError, match=said):
        SynapticFlow()(problem_of(linear_net(3, 2), [batch]))


def test_the_steps_of_synflow():
    shares = synaptic_flow_steps(0.99, rounds=100)
    assert len(shares) == 100
    assert shares[-1] == 0.99
    awake = [1.0, *(1 - share for share in shares)]
    ratios = [b / a for a, b in itertools.pairwise(awake)]
    assert ratios == pytest.approx([0.01**0.01] * 100)
    assert synaptic_flow_steps(0.0, rounds=2) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((1.0,), ValueError, "0 <= final < 1"),
        (("0.5",), TypeError, "final must be a number"),
        ((0.5, 0), ValueError, "rounds must be 1 or more"),
        ((0.5, 2.0), TypeError, "rounds must be an int"),
    ],
)
def test_wrong_steps(arguments, error, said):
    with pytest.raises(error, match=said):
        synaptic_flow_steps(*arguments)


def test_the_temperature_divides_the_outputs():
    model, batches = mlp(3, 4, 2), data(64)
    cooled = problem_of(model, batches, None, lambda out, y: nn.functional.mse_loss(out / 200, y))
    expected = HessianGradient()(cooled)
    found = GraSP().curvature(problem_of(model, batches))
    for name, product in expected.items():
        torch.testing.assert_close(found[name], product)


def test_the_temperature_needs_a_loss_of_outputs():
    model, batches = mlp(3, 4, 2), data(8)
    params = dict(model.named_parameters())
    problem = Problem(model, params, batches, batch_loss=lambda m, b: m(b[0]).square().mean())
    HessianGradient()(problem)
    with pytest.raises(ValueError, match=r"loss of \(model, batch\) use GraSP\(HessianGradient"):
        GraSP().curvature(problem)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        HessianGradient(temperature=0.0)


class Parts(nn.Module):
    """Three layers, of which the first two may be run anew in the backward pass."""

    def __init__(self, run):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
        self.inner = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
        self.last = nn.Linear(4, 2)
        self.run = run

    def forward(self, x):
        x.mul_(2.0)  # a model may write into its input
        return self.last(self.run(self.inner, self.run(self.first, x)))


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_flow_the_same(reentrant):
    """They are run anew on the magnitudes, not on the weights."""
    batch = (torch.randn(4, 3), torch.zeros(4, 2))
    flows = []
    for run in (lambda part, x: part(x), partial(checkpoint, use_reentrant=reentrant)):
        model = Parts(run).eval()
        before = {n: t.clone() for n, t in model.state_dict().items()}
        flows.append(SynapticFlow()(problem_of(model, [batch])))
        assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(flows[0][n], flows[1][n]) for n in flows[0])
    assert all(bool((flow > 0).any()) for flow in flows[0].values())
