"""Products and diagonals against a dense Hessian, to 1e-8."""

import pytest
import torch
from torch import nn

from saliency import (
    FisherDiagonal,
    GaussNewtonDiagonal,
    HessianDiagonal,
    Hutchinson,
    Problem,
    hessian_vector_product,
)
from saliency.curvature.diagonals import sum_of_squares
from saliency.curvature.flat import Layout
from saliency.curvature.layer_squares import plain_layers
from saliency.curvature.rows import GaussNewtonColumns, SampleGradients

EVERY = ["mlp-tanh", "mlp-relu", "conv-tanh", "conv-relu", "norm-eval", "norm-train", "tied"]
PIECEWISE_LINEAR = ["mlp-relu", "conv-relu", "norm-eval"]


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors.values()])


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("model", EVERY)
def test_products_and_diagonal(make_problem, dense_hessian, model, loss):
    problem = make_problem(model, loss)
    h = dense_hessian(problem)
    close(flat(HessianDiagonal(chunk=7)(problem)), h.diagonal())
    v = torch.randn(len(h), dtype=torch.float64)
    named = Layout.of(problem.params).named(v)
    close(flat(hessian_vector_product(problem, named)), h @ v)


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("model", PIECEWISE_LINEAR)
def test_gauss_newton_is_the_hessian_s_diagonal_where_outputs_are_piecewise_linear(
    make_problem, dense_hessian, model, loss
):
    problem = make_problem(model, loss)
    found = flat(GaussNewtonDiagonal(GaussNewtonColumns(chunk=3))(problem))
    close(found, dense_hessian(problem).diagonal())


def test_gauss_newton_is_something_else_for_tanh(make_problem, dense_hessian):
    problem = make_problem("mlp-tanh")
    found = flat(GaussNewtonDiagonal()(problem))
    h = dense_hessian(problem).diagonal()
    assert bool((found >= 0).all())
    assert (found - h).norm() > 1e-2 * h.norm()


def test_gauss_newton_of_tanh_against_j_lambda_j(make_problem):
    problem = make_problem("mlp-tanh", "ce")
    names = list(problem.params)
    total = 0.0
    for x, _ in problem.batches:
        for sample in x:

            def outputs(*values, sample=sample):
                params = dict(zip(names, values, strict=True))
                return torch.func.functional_call(problem.model, params, (sample[None],))[0]

            values = tuple(p.detach() for p in problem.params.values())
            parts = torch.autograd.functional.jacobian(outputs, values)
            j = torch.cat([part.flatten(1) for part in parts], dim=1)
            p = outputs(*values).softmax(0)
            total = total + j.T @ (p.diag() - torch.outer(p, p)) @ j
    close(flat(GaussNewtonDiagonal()(problem)), (total / 7).diagonal())


@pytest.mark.parametrize("model", ["mlp-tanh", "conv-relu", "norm-eval", "tied"])
def test_empirical_fisher(make_problem, fisher_rows, model):
    problem = make_problem(model)
    rows = fisher_rows(problem)
    close(flat(FisherDiagonal(SampleGradients(chunk=2))(problem)), rows.square().mean(0))


def test_hutchinson_is_unbiased_and_knows_its_error(make_problem, dense_hessian):
    problem = make_problem("mlp-tanh", seed=5)
    h = dense_hessian(problem).diagonal()
    found = Hutchinson(probes=400, chunk=100).estimate(problem)
    mean, error = flat(found.mean), flat(found.error)
    within = ((mean - h).abs() <= 2 * error + 1e-12).double().mean()
    assert within > 0.85
    # A quarter of the probes, twice the error.
    fewer = flat(Hutchinson(probes=100).estimate(problem).error)
    assert 1.6 < float(fewer.mean() / error.mean()) < 2.5
    close(flat(Hutchinson(probes=400, chunk=33)(problem)), mean)


def test_how_batches_are_cut_does_not_matter(make_problem):
    problem = make_problem("mlp-tanh")
    x, y = (torch.cat(parts) for parts in zip(*problem.batches, strict=True))
    for batches in ([(x, y)], [(x[i : i + 1], y[i : i + 1]) for i in range(7)]):
        other = Problem(problem.model, problem.params, batches, problem.loss)
        for request in (HessianDiagonal(), GaussNewtonDiagonal(), FisherDiagonal()):
            close(flat(request(other)), flat(request(problem)))


def test_a_loss_of_model_and_batch_gives_the_same(make_problem):
    problem = make_problem("norm-eval")

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

    batches = [{"x": x, "y": y} for x, y in problem.batches]
    other = Problem(problem.model, problem.params, batches, batch_loss=loss)
    for request in (HessianDiagonal(), FisherDiagonal()):
        close(flat(request(other)), flat(request(problem)))


def test_some_parameters_only(make_problem, dense_hessian):
    problem = make_problem("mlp-tanh")
    some = {"2.weight": problem.params["2.weight"]}
    other = Problem(problem.model, some, problem.batches, problem.loss)
    h = dense_hessian(problem).diagonal()
    close(flat(HessianDiagonal()(other)), Layout.of(problem.params).named(h)["2.weight"].flatten())


@pytest.mark.parametrize(
    "request_", [HessianDiagonal(), GaussNewtonDiagonal(), FisherDiagonal(), Hutchinson(probes=4)]
)
def test_nothing_is_left_behind(make_problem, request_):
    calls = []
    problem = make_problem("norm-eval", progress=lambda *told: calls.append(told))
    problem.model.append(nn.Dropout(0.5).train())
    before = {n: t.clone() for n, t in problem.model.state_dict().items()}
    state = torch.get_rng_state()
    first, second = request_(problem), request_(problem)
    assert torch.equal(flat(first), flat(second))
    assert torch.equal(state, torch.get_rng_state())
    after = problem.model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert all(p.grad is None for p in problem.model.parameters())
    assert [m.training for m in problem.model] == [False] * 5 + [True]
    assert calls
    assert not any(t.requires_grad for t in first.values())


def test_attention_can_be_differentiated_twice():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).double()
    name = "self_attn.in_proj_weight"
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    problem = Problem(
        layer, {name: layer.get_parameter(name)}, [(x, torch.zeros_like(x))], nn.MSELoss()
    )
    found = HessianDiagonal()(problem)[name]
    v = torch.zeros_like(found)
    v[1, 2] = 1
    close(hessian_vector_product(problem, {name: v})[name][1, 2], found[1, 2])


class Shared(nn.Module):
    """One Linear on vectors, one on sequences, one used twice, and one kind of its own."""

    def __init__(self):
        super().__init__()
        self.wide, self.long = nn.Linear(4, 6), nn.Linear(2, 3)
        self.again, self.last = nn.Linear(9, 9), Doubled(9, 3)

    def forward(self, x):
        x = torch.relu(self.wide(x)).reshape(-1, 3, 2)
        x = torch.relu(self.long(x)).flatten(1)
        return self.last(torch.relu(self.again(torch.relu(self.again(x)))))


class Doubled(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def test_the_short_way_of_linear_layers_is_the_same_sum(make_problem):
    torch.manual_seed(0)
    model = Shared().double()
    whole = make_problem("mlp-tanh")
    problem = Problem(model, dict(model.named_parameters()), whole.batches, whole.loss)
    assert set(plain_layers(problem)) == {"wide"}
    assert set(plain_layers(make_problem("mlp-tanh"))) == {"0", "2"}
    assert not plain_layers(make_problem("tied"))
    for short, rows in (
        (GaussNewtonDiagonal(), GaussNewtonColumns()),
        (FisherDiagonal(), SampleGradients()),
    ):
        found = short(problem)
        assert list(found) == list(problem.params)
        close(flat(found), flat(sum_of_squares("slow", rows, problem)))
    assert not any(m._forward_hooks for m in model.modules())


class Tokens(nn.Module):
    """Two tokens of a sample are two rows of a layer on vectors."""

    def __init__(self):
        super().__init__()
        self.token, self.last = nn.Linear(2, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(torch.relu(self.token(x.reshape(-1, 2))).reshape(-1, 6))


def test_rows_that_are_not_samples_are_added_up_before_they_are_squared(make_problem, fisher_rows):
    torch.manual_seed(0)
    model = Tokens().double()
    whole = make_problem("mlp-tanh")
    problem = Problem(model, dict(model.named_parameters()), whole.batches, whole.loss)
    assert set(plain_layers(problem)) == {"last"}
    close(flat(GaussNewtonDiagonal()(problem)), flat(HessianDiagonal()(problem)))
    close(flat(FisherDiagonal()(problem)), fisher_rows(problem).square().mean(0))


@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv1d], ids=lambda kind: kind.__name__)
def test_samples_that_are_fitted_all_too_well_are_convex_too(kind):
    """The softmax of a margin of 20 has a Hessian of 1e-9, less than float32 rounds to."""
    torch.manual_seed(0)
    layer = kind(4, 10) if kind is nn.Linear else nn.Sequential(nn.Conv1d(4, 10, 1), nn.Flatten())
    x = torch.randn(64, 4) if kind is nn.Linear else torch.randn(64, 4, 1)
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(40)
    y = layer(x).argmax(1)
    params = {n: p for n, p in layer.named_parameters() if n.endswith("weight")}
    problem = Problem(layer, params, [(x, y)], nn.functional.cross_entropy)
    found = GaussNewtonDiagonal()(problem)
    assert all(bool((g >= 0).all()) for g in found.values())
