"""The rows of `Woodbury` lie in one place, which holds them and nothing else."""

import pytest
import torch
from torch import nn

from saliency import BatchGradients, Problem, SampleGradients, Woodbury


def problem_of(samples, dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)).to(dtype)
    data = torch.randn(samples, 5, dtype=dtype), torch.randn(samples, 2, dtype=dtype)
    batches = list(zip(*(t.split(3) for t in data), strict=True))
    return Problem(model, dict(model.named_parameters()), batches, nn.MSELoss())


def expected(problem, count):
    """Each sample's gradient by an ordinary backward pass."""
    rows = {name: [] for name in problem.params}
    for x, y in ((x[None], y[None]) for b in problem.batches for x, y in zip(*b, strict=True)):
        if len(rows["0.weight"]) < count:
            loss = problem.loss(problem.model(x), y)
            grads = torch.autograd.grad(loss, list(problem.params.values()))
            for name, grad in zip(rows, grads, strict=True):
                rows[name].append(grad.flatten())
    return {name: torch.stack(found) / len(found) ** 0.5 for name, found in rows.items()}


@pytest.mark.parametrize(("samples", "count"), [(10, 7), (10, 10), (10, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_gradients_in_one_place(samples, count, dtype):
    problem = problem_of(samples, dtype)
    found = Woodbury(rows=SampleGradients(chunk=2), count=count)(problem)
    for name, rows in expected(problem, count).items():
        torch.testing.assert_close(found[name], rows)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage() for t in found.values()}
    size = sum(p.numel() for p in problem.params.values())
    assert [s.nbytes() for s in storages.values()] == [min(samples, count) * size * dtype.itemsize]


def test_short_floats_are_kept_in_float32():
    problem = problem_of(6, torch.bfloat16)
    found = Woodbury(rows=BatchGradients(), count=2)(problem)
    assert {rows.dtype for rows in found.values()} == {torch.float32}


@pytest.mark.parametrize("columns", [3, 1 << 16])
def test_the_loss_of_a_removal_is_the_same_in_parts(columns, monkeypatch):
    """0.5 w' (F + damping) w with the survivors moved to the best place: by a dense solve."""
    monkeypatch.setattr("saliency.curvature.woodbury._COLUMNS", columns)
    problem = problem_of(8, torch.float64)
    request, weights = Woodbury(damping=0.1), {n: p.detach() for n, p in problem.params.items()}
    rows = request(problem)
    a, w = torch.cat(list(rows.values()), dim=1), torch.cat([t.flatten() for t in weights.values()])
    h = a.T @ a + 0.1 * torch.eye(len(w), dtype=w.dtype)
    out = torch.arange(len(w)) % 3 == 0
    inverse = torch.linalg.inv(h)
    dense = 0.5 * w[out] @ torch.linalg.solve(inverse[out][:, out], w[out])
    parts = out.split([t.numel() for t in weights.values()])
    chosen = {n: part.reshape(t.shape) for (n, t), part in zip(weights.items(), parts, strict=True)}
    loss, _ = request.open(rows, weights, {}).remove(chosen)
    assert loss == pytest.approx(float(dense), rel=1e-8)
