"""Inverses in every form against torch.linalg on dense matrices."""

import pytest
import torch

from saliency import (
    BatchGradients,
    GaussNewtonColumns,
    InverseFisher,
    InverseHessian,
    SampleGradients,
    Woodbury,
)
from saliency.curvature import blocks
from saliency.curvature.flat import Layout
from saliency.curvature.tableau import Tableau, elimination

F64 = torch.float64


def close(a, b, rtol=1e-8):
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9 * float(b.abs().max()))


def spd(size, seed=0):
    g = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, generator=g, dtype=F64)
    return a @ a.T / size + 0.1 * torch.eye(size, dtype=F64)


def own_block(matrix, layout, name, block):
    """The reference: cut the parameter's own square out, then its blocks of `block`."""
    start, size = layout.starts[layout.names.index(name)], layout.sizes[layout.names.index(name)]
    own = matrix[start : start + size, start : start + size]
    return [own[i : i + block, i : i + block] for i in range(0, size, block)]


@pytest.mark.parametrize("rank", [1, 3, 32, None])
@pytest.mark.parametrize("damping", [1e-6, 1e-2])
def test_the_recursion_inverts_the_damped_fisher(make_problem, fisher_rows, rank, damping):
    problem = make_problem("conv-tanh")
    rows = fisher_rows(problem)
    fisher = rows.T @ rows / len(rows) + damping * torch.eye(rows.shape[1], dtype=F64)
    request = InverseFisher(damping=damping, rows=SampleGradients(chunk=3), rank=rank)
    found = torch.cat(list(request(problem).values()))
    # Starting from I / damping costs digits as damping falls.
    close(found, torch.linalg.inv(fisher), rtol=1e-8 if damping > 1e-3 else 1e-6)


@pytest.mark.parametrize("rank", [1, 2, None])
@pytest.mark.parametrize("block", [1, 4, 7, 1000])
def test_blocks_of_the_fisher(make_problem, fisher_rows, block, rank):
    problem = make_problem("mlp-tanh")
    rows = fisher_rows(problem)
    fisher = rows.T @ rows / len(rows) + 0.01 * torch.eye(rows.shape[1], dtype=F64)
    found = InverseFisher(block=block, damping=0.01, rank=rank)(problem)
    for name, inverse in found.items():
        expected = own_block(fisher, Layout.of(problem.params), name, block)
        assert len(inverse) == len(expected)
        for one, other in zip(inverse, expected, strict=True):
            size = len(other)
            close(one[:size, :size], torch.linalg.inv(other))
            assert not one[:size, size:].any()


@pytest.mark.parametrize("block", [None, 1, 4, 7])
def test_the_exact_hessian(make_problem, dense_hessian, block):
    problem = make_problem("mlp-tanh", "mse")
    h = dense_hessian(problem)
    damping = 2.0
    damped = h + damping * torch.eye(len(h), dtype=F64)
    found = InverseHessian(block=block, damping=damping, chunk=5)(problem)
    if block is None:
        close(torch.cat(list(found.values())), torch.linalg.inv(damped))
        return
    for name, inverse in found.items():
        for one, other in zip(
            inverse, own_block(damped, Layout.of(problem.params), name, block), strict=True
        ):
            close(one[: len(other), : len(other)], torch.linalg.inv(other))


def test_gauss_newton_rows_give_the_hessian_of_a_linear_model(make_problem, dense_hessian):
    problem = make_problem("mlp-relu", "ce")
    last = {n: p for n, p in problem.params.items() if n.startswith("2.")}
    problem = type(problem)(problem.model, last, problem.batches, problem.loss)
    h = dense_hessian(problem) + 0.01 * torch.eye(18, dtype=F64)
    found = InverseFisher(damping=0.01, rows=GaussNewtonColumns())(problem)
    close(torch.cat(list(found.values())), torch.linalg.inv(h))


def test_batch_gradients_serve_batchnorm_in_train_mode(make_problem):
    problem = make_problem("norm-train")
    found = InverseFisher(block=8, damping=0.1, rows=BatchGradients())(problem)
    assert set(found) == set(problem.params)
    with pytest.raises(ValueError, match=r"'1' \(BatchNorm2d\) mixes.*BatchGradients\(\)"):
        InverseFisher(block=8)(problem)


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("rows", [SampleGradients(), GaussNewtonColumns()])
def test_woodbury_answers_as_the_dense_inverse(make_problem, rows, asleep):
    problem = make_problem("mlp-tanh")
    weights = {n: p.detach().clone() for n, p in problem.params.items()}
    g = torch.Generator().manual_seed(1)
    awake = {"0.weight": torch.rand(5, 4, generator=g) < 0.6} if asleep else {}
    for name, mask in awake.items():
        weights[name] *= mask
    dense, thin = InverseFisher(damping=0.01, rows=rows), Woodbury(damping=0.01, rows=rows)
    one = dense.open(dense(problem), weights, awake)
    other = thin.open(thin(problem), weights, awake)
    chosen = {n: torch.rand(w.shape, generator=g) < 0.4 for n, w in weights.items()}
    for name, diagonal in one.diagonal().items():
        up = awake.get(name, torch.ones_like(diagonal, dtype=torch.bool))
        close(other.diagonal()[name][up], diagonal[up])
    (loss, update), (loss2, update2) = one.remove(chosen), other.remove(chosen)
    assert loss == pytest.approx(loss2, rel=1e-9)
    for name, change in update.items():
        close(update2[name], change)
        assert not change[chosen[name]].any()
        assert not change[~awake.get(name, torch.ones_like(chosen[name]))].any()


def test_woodbury_takes_whole_samples_up_to_count(make_problem):
    problem = make_problem("mlp-tanh")
    full = Woodbury(rows=GaussNewtonColumns(chunk=2))(problem)
    assert full["0.weight"].shape == (21, 20)
    short = Woodbury(rows=GaussNewtonColumns(chunk=2), count=10)(problem)
    assert short["0.weight"].shape == (9, 20)
    torch.testing.assert_close(short["0.weight"] * 3**0.5, full["0.weight"][:9] * 7**0.5)


@pytest.mark.parametrize("size", [1, 6])
def test_restricting_and_removing_against_the_normal_equations(size):
    h = torch.stack([spd(size, seed) for seed in range(3)])
    g = torch.Generator().manual_seed(9)
    w = torch.randn(3, size, generator=g, dtype=F64)
    asleep = torch.rand(3, size, generator=g) < 0.3
    chosen = (torch.rand(3, size, generator=g) < 0.5) & ~asleep
    w = w.masked_fill(asleep, 0)
    inverse = blocks.without(torch.linalg.inv(h), asleep)
    losses, updates = blocks.remove(inverse, w, chosen)
    for b in range(3):
        stay, gone = ~asleep[b] & ~chosen[b], chosen[b]
        # Least loss with the chosen at 0: H_AA d_A = H_AQ w_Q.
        d = -w[b] * gone
        if stay.any():
            d[stay] = torch.linalg.solve(h[b][stay][:, stay], h[b][stay][:, gone] @ w[b][gone])
        assert float(losses[b]) == pytest.approx(float(d @ h[b] @ d / 2), rel=1e-9)
        close(updates[b][stay], d[stay]) if stay.any() else None
        assert not updates[b][~stay].any()


def test_a_pivot_undoes_itself_and_order_does_not_matter():
    inverse, w = torch.linalg.inv(spd(6))[None], torch.randn(1, 6, dtype=F64)
    tableau = Tableau(inverse, w)
    for i in (2, 5, 0, 5):
        tableau.pivot(torch.tensor([i]))
    other = Tableau(inverse, w)
    for i in (0, 2):
        other.pivot(torch.tensor([i]))
    close(tableau.matrix, other.matrix)
    close(tableau.values, other.values)
    chosen = torch.tensor([[True, False, True, False, False, False]])
    assert torch.equal(tableau.removed, chosen)
    loss, update = blocks.remove(inverse, w, chosen)
    close(tableau.loss, loss)
    close(tableau.values[~chosen], (w + update)[~chosen])


def test_the_best_exchange_is_the_best_of_all_pairs():
    inverse, w = torch.linalg.inv(spd(7))[None], torch.randn(1, 7, dtype=F64)
    tableau = Tableau(inverse, w)
    for i in (1, 4, 6):
        tableau.pivot(torch.tensor([i]))
    asleep = torch.zeros(1, 7, dtype=torch.bool)
    change, back, out = tableau.best_swap(asleep)
    by_hand = {}
    for j in (1, 4, 6):
        for i in (0, 2, 3, 5):
            mask = tableau.removed.clone()
            mask[0, j], mask[0, i] = False, True
            by_hand[j, i] = float(blocks.remove(inverse, w, mask)[0] - tableau.loss)
    assert (int(back), int(out)) == min(by_hand, key=by_hand.get)
    assert float(change) == pytest.approx(min(by_hand.values()), rel=1e-8)


def test_removing_many_at_once_is_a_pivot_for_each():
    inverse = torch.linalg.inv(torch.stack([spd(6, seed) for seed in range(2)]))
    w = torch.randn(2, 6, dtype=F64)
    chosen = torch.tensor([[True, False, True, True, False, False], [False] * 6])
    together, apart = Tableau(inverse, w), Tableau(inverse, w)
    together.remove_all(chosen)
    for i in (0, 2, 3):
        apart.pivot(torch.tensor([i, i]), chosen[:, i])
    for ours, theirs in zip(vars(together).values(), vars(apart).values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def recomputed(h, w, alive):
    """(order, costs, cost of all at the end of `order`): a new inverse at each removal."""
    alive, value, order, costs = list(alive), w.clone(), [], []
    while alive:
        inverse = torch.linalg.inv(h[alive][:, alive])
        cost = value[alive].square() / (2 * inverse.diagonal())
        k = int(cost.argmin())
        step = torch.zeros(len(w), dtype=F64)
        step[alive] = -value[alive[k]] / inverse[k, k] * inverse[:, k]
        value = value + step
        costs.append(float(cost[k]))
        order.append(alive.pop(k))
    return order, torch.tensor(costs, dtype=F64)


@pytest.mark.parametrize("size", [8, 40])
def test_elimination_is_what_recomputing_everything_gives(size):
    asleep = torch.zeros(3, size, dtype=torch.bool)
    asleep[1, ::3] = asleep[2] = True  # blocks of different length; the last one has nobody
    h = [spd(size, seed=4 + b) for b in range(3)]
    w = torch.randn(3, size, dtype=F64).masked_fill(asleep, 0)
    inverse = blocks.without(torch.linalg.inv(torch.stack(h)), asleep)
    scores = elimination(inverse, w, asleep, size)
    for b in range(2):
        order, costs = recomputed(h[b], w[b], (~asleep[b]).nonzero()[:, 0].tolist())
        awake = scores[b].masked_fill(asleep[b], torch.inf)
        assert awake.argsort().tolist()[: len(order)] == order
        close(scores[b][order], costs.cummax(0).values)
    assert not scores[asleep].any()
    half = elimination(inverse, w, asleep, size // 2)
    first = scores[0].argsort()[: size // 2]
    assert half[0].argsort()[: size // 2].tolist() == first.tolist()
    tableau = Tableau(inverse[:1], w[:1])
    gone = torch.zeros(1, size, dtype=torch.bool)
    gone[0, first] = True
    tableau.remove_all(gone)
    left = ~gone[0]
    expected = tableau.costs()[0][left].clamp(min=float(scores[0][first[-1]]))
    close(half[0][left], expected)


def test_damping_that_is_lost_in_rounding_is_refused(make_problem):
    problem = make_problem("mlp-tanh")
    single = type(problem)(
        problem.model.float(),
        {n: p.detach().float() for n, p in problem.params.items()},
        [(x.float(), y) for x, y in problem.batches],
        problem.loss,
    )
    with pytest.raises(ValueError, match=r"not positive definite.*Raise damping above") as caught:
        InverseFisher(block=20, damping=1e-12)(single)
    enough = float(str(caught.value).split("Raise damping above ")[1].split(", or")[0])
    InverseFisher(block=20, damping=enough * 2)(single)
