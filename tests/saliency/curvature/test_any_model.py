"""Models and losses that torch.func cannot transform give the same by ordinary backward passes."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from saliency import (
    KFAC,
    FisherDiagonal,
    GaussNewtonDiagonal,
    HessianDiagonal,
    HessianGradient,
    Hutchinson,
    InverseFisher,
    InverseHessian,
    Problem,
    Woodbury,
    hessian_vector_product,
)
from saliency.curvature import functional, one_by_one, rows
from saliency.curvature.flat import Layout
from saliency.curvature.products import hessian_products
from saliency.curvature.rows import BatchGradients

F64 = torch.float64


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors.values()])


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("model", ["mlp-tanh", "conv-relu", "norm-eval", "tied"])
def test_one_by_one_is_what_torch_func_gives(make_problem, model, loss):
    problem = make_problem(model, loss)
    params, batch = functional.live(problem), problem.batches[0]
    layout = Layout.of(params)
    together = functional.sample_gradients(problem, params, batch)
    close(flat(one_by_one.sample_gradients(problem, params, batch)), flat(together))
    fast, slow = (f(problem, params, batch) for f in (rows._columns, rows._columns_apart))
    for a, b in zip(fast[1:], slow[1:], strict=True):
        close(a, b)
    # Columns are unique up to a rotation: compare what they add up to.
    a, b = (layout.flat(f[0]).flatten(0, 1) for f in (fast, slow))
    close(a.T @ a, b.T @ b)
    directions = torch.randn(3, layout.size, dtype=F64)
    products, _ = next(hessian_products(problem, params))
    found = one_by_one.hessian_products(problem, params, batch, layout, directions)
    close(found, products(directions))


class Gated(nn.Module):
    """Reads its input step by step."""

    def __init__(self, kind):
        super().__init__()
        self.reader, self.last = kind(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x):
        return self.last(self.reader(x.unflatten(1, (2, 2)))[0][:, -1])


class Branch(nn.Module):
    """Doubles its output where the first input says so."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        out = torch.tanh(self.layer(x))
        return torch.stack(
            [2 * o if i.item() > 0 else o for o, i in zip(out, x[:, 0], strict=True)]
        )


class Saved(nn.Module):
    """A checkpointed hidden layer, or a plain one."""

    def __init__(self, again):
        super().__init__()
        self.hidden, self.last, self.again = nn.Linear(4, 4), nn.Linear(4, 3), again

    def forward(self, x):
        if self.again:
            return self.last(checkpoint(self.inner, x, use_reentrant=False))
        return self.last(self.inner(x))

    def inner(self, x):
        return torch.tanh(self.hidden(x))


STRANGE = {
    "gru": lambda: (Gated(nn.GRU), None),
    "lstm": lambda: (Gated(nn.LSTM), None),
    "branch": lambda: (Branch(), None),
    "checkpoint": lambda: (Saved(True), Saved(False)),
}


@pytest.fixture(params=STRANGE)
def strange(request, make_problem):
    """A problem, and one with the same values that slow references can take."""
    torch.manual_seed(1)
    model, plain = (None if m is None else m.double() for m in STRANGE[request.param]())
    batches = make_problem("mlp-tanh").batches
    found = []
    for net in (model, plain or model):
        net.load_state_dict(model.state_dict())
        found.append(Problem(net, dict(net.named_parameters()), batches, nn.CrossEntropyLoss()))
    return found


def test_second_derivatives(strange, dense_hessian):
    problem, plain = strange
    h = dense_hessian(plain)
    close(flat(HessianDiagonal(chunk=9)(problem)), h.diagonal())
    v = torch.randn(len(h), dtype=F64)
    product = hessian_vector_product(problem, Layout.of(problem.params).named(v))
    close(flat(product), h @ v)
    damping = 0.1 - float(torch.linalg.eigvalsh(h).min())
    inverse = torch.cat(list(InverseHessian(damping=damping)(problem).values()))
    eye = torch.eye(len(h), dtype=F64)
    torch.testing.assert_close(inverse @ (h + damping * eye), eye)
    assert all(t.isfinite().all() for t in Hutchinson(probes=2)(problem).values())


def test_sums_of_samples(strange, fisher_rows):
    problem, plain = strange
    x = fisher_rows(plain)
    fisher = x.T @ x / len(x)
    close(flat(FisherDiagonal()(problem)), fisher.diagonal())
    damped = fisher + 0.1 * torch.eye(len(fisher), dtype=F64)
    inverse = torch.cat(list(InverseFisher(damping=0.1)(problem).values()))
    torch.testing.assert_close(inverse @ damped, torch.eye(len(fisher), dtype=F64))
    kept = torch.cat(list(Woodbury()(problem).values()), dim=1)
    close(kept.T @ kept, fisher)
    batch = FisherDiagonal(BatchGradients())(problem)
    assert all(t.isfinite().all() for t in batch.values())


def test_gauss_newton(strange):
    problem, plain = strange
    names, total = list(plain.params), 0.0
    for x, _ in plain.batches:
        for sample in x:

            def outputs(*values, sample=sample):
                params = dict(zip(names, values, strict=True))
                return torch.func.functional_call(plain.model, params, (sample[None],))[0]

            values = tuple(p.detach() for p in plain.params.values())
            parts = torch.autograd.functional.jacobian(outputs, values)
            j = torch.cat([part.flatten(1) for part in parts], dim=1)
            p = outputs(*values).softmax(0)
            total = total + j.T @ (p.diag() - torch.outer(p, p)) @ j
    close(flat(GaussNewtonDiagonal()(problem)), (total / 7).diagonal())


def test_fused_recurrence_of_float32_has_second_derivatives(make_problem):
    model = Gated(nn.LSTM)
    batches = [(x.float(), y) for x, y in make_problem("mlp-tanh").batches]
    problem = Problem(model, dict(model.named_parameters()), batches, nn.CrossEntropyLoss())
    double = copy.deepcopy(model).double()
    wide = Problem(
        double,
        dict(double.named_parameters()),
        [(x.double(), y) for x, y in batches],
        nn.CrossEntropyLoss(),
    )
    enabled = torch.backends.mkldnn.enabled
    found, expected = HessianDiagonal()(problem), HessianDiagonal()(wide)
    torch.testing.assert_close(flat(found).double(), flat(expected), rtol=1e-3, atol=1e-5)
    assert torch.backends.mkldnn.enabled == enabled


def test_recurrence_where_torchs_switches_are_frozen(make_problem):
    """Test suites that import torch's own helpers can no longer assign them."""
    frozen = torch.backends.__allow_nonbracketed_mutation_flag
    torch.backends.__allow_nonbracketed_mutation_flag = False
    try:
        model = nn.GRU(3, 2, batch_first=True)
        batch = (torch.ones(2, 4, 3), torch.zeros(2, 4, 2))
        problem = Problem(
            model,
            dict(model.named_parameters()),
            [batch],
            batch_loss=lambda net, pair: nn.functional.mse_loss(net(pair[0])[0], pair[1]),
        )
        assert all(bool(h.isfinite().all()) for h in HessianDiagonal()(problem).values())
    finally:
        torch.backends.__allow_nonbracketed_mutation_flag = frozen


def test_a_loss_with_a_branch(make_problem, dense_hessian):
    whole = make_problem("mlp-relu", "mse")

    def loss(output, target):
        distance = (output - target).square()
        return distance.mean() if bool(distance.mean() > 0) else distance.sum()

    problem = Problem(whole.model, whole.params, whole.batches, loss)
    close(flat(GaussNewtonDiagonal()(problem)), dense_hessian(whole).diagonal())
    close(flat(HessianDiagonal()(problem)), dense_hessian(whole).diagonal())


@pytest.mark.parametrize("model", ["mlp-relu", "conv-relu"])
def test_targets_may_hold_what_is_no_tensor(make_problem, model):
    whole = make_problem(model)
    batches = [(x, {"class": y, "weight": 2.0, "note": None}) for x, y in whole.batches]

    def loss(output, target):
        return target["weight"] * whole.loss(output, target["class"])

    problem = Problem(whole.model, whole.params, batches, loss)
    for request, power in (
        (GaussNewtonDiagonal(), 2),
        (FisherDiagonal(), 4),
        (HessianDiagonal(), 2),
    ):
        close(flat(request(problem)), power * flat(request(whole)))


def test_an_error_of_the_model_is_its_own():
    layer = nn.Linear(3, 2)
    problem = Problem(
        layer, dict(layer.named_parameters()), [(torch.ones(2, 4), torch.ones(2, 2))], nn.MSELoss()
    )
    for request in (HessianDiagonal(), FisherDiagonal(), GaussNewtonDiagonal(), HessianGradient()):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            request(problem)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "request_",
    [FisherDiagonal(), GaussNewtonDiagonal(), KFAC(), HessianDiagonal(), Hutchinson(probes=4)],
    ids=lambda r: type(r).__name__,
)
def test_sums_of_short_floats_are_float32(request_, dtype):
    """Squares of 1e-5 are 0 in float16, and a sum in bfloat16 stops at 256 times its terms."""
    layer = nn.Linear(1, 2, bias=False).to(dtype)
    nn.init.zeros_(layer.weight)
    x, y = torch.full((600, 1), 2.0**-14, dtype=dtype), torch.zeros(600, 2, dtype=dtype)
    y[:, 0] = -1
    batches = list(zip(x.split(1), y.split(1), strict=True))
    problem = Problem(layer, {"weight": layer.weight}, batches, nn.MSELoss())
    found = request_(problem)
    found = found.diagonal() if isinstance(request_, KFAC) else found
    # Loss (w x - y)^2 / 2 of each output: first derivative x for the first one, second x^2.
    square = 2.0**-28
    expected = [square, 0.0] if isinstance(request_, FisherDiagonal) else [square, square]
    assert found["weight"].dtype == torch.float32
    if isinstance(request_, HessianDiagonal | Hutchinson):
        expected = [x if dtype is torch.bfloat16 else 0.0 for x in expected]  # products are short
    assert found["weight"].flatten().tolist() == pytest.approx(expected, rel=1e-2, abs=1e-12)
    assert math.isfinite(sum(found["weight"].flatten().tolist()))
