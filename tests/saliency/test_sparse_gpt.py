"""SparseGPT against a column-by-column reference with explicit inverses; N:M patterns."""

import pytest
import torch

from saliency import ExactOBS, Signals, SparseGPT

D = torch.float64


def layer_problem(rows=4, width=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    mix = torch.eye(width, dtype=D) + 0.4 * torch.randn(width, width, generator=g, dtype=D)
    x = torch.randn(60, width, generator=g, dtype=D) @ mix
    return torch.randn(rows, width, generator=g, dtype=D), x.t() @ x / 60


def signals_of(w, h, awake=None):
    held = {} if awake is None else {"w": awake}
    return Signals(weights={"w": w}, activations={"w": h.unsqueeze(0)}, awake=held)


def reference(w, h, gone):
    """Column j leaves: the columns after it follow the inverse of H on columns j and later."""
    w = w.clone()
    for j in range(w.shape[1]):
        v = torch.linalg.inv(h[j:, j:])
        for row in range(len(w)):
            if gone[row, j]:
                w[row, j:] -= w[row, j] / v[0, 0] * v[0]
    return w.masked_fill(gone, 0)


def chosen_by(scores, count):
    """The lowest of the whole tensor."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[scores.reshape(-1).argsort(stable=True)[:count]] = True
    return mask.reshape(scores.shape)


def after(scorer, choice, signals):
    w = signals.weights["w"]
    return (w + scorer.compensate({"w": choice}, signals)["w"]).masked_fill(choice, 0)


@pytest.mark.parametrize("block", [1, 3, 8, 100])
def test_the_update_for_any_choice(block):
    w, h = layer_problem()
    choice = torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    found = after(SparseGPT(block=block, damp=0.0), choice, signals_of(w, h))
    torch.testing.assert_close(found, reference(w, h, choice), rtol=1e-8, atol=1e-10)


def test_what_sleeps_already_passes_its_share_on():
    w, h = layer_problem()
    awake = torch.rand(w.shape, generator=torch.Generator().manual_seed(2)) < 0.7
    choice = awake & (torch.rand(w.shape, generator=torch.Generator().manual_seed(3)) < 0.4)
    w = w.masked_fill(~awake, 0)
    found = after(SparseGPT(damp=0.0), choice, signals_of(w, h, awake))
    torch.testing.assert_close(found, reference(w, h, choice | ~awake), rtol=1e-8, atol=1e-10)
    assert not found[~awake].any()


def test_the_scores_without_a_share():
    w, h = layer_problem()
    scores = SparseGPT(damp=0.0).score(signals_of(w, h))["w"]
    for j in range(8):
        pivot = torch.linalg.inv(h[j:, j:])[0, 0]
        torch.testing.assert_close(scores[:, j], w[:, j].square() / pivot)


@pytest.mark.parametrize("block", [1, 3, 4])
@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.7])
def test_blocks_choose_from_what_the_blocks_before_left(block, fraction):
    w, h = layer_problem()
    scores = SparseGPT(fraction=fraction, block=block, damp=0.0).score(signals_of(w, h))["w"]
    gone, done = torch.zeros(w.shape, dtype=torch.bool), 0
    for start in range(0, 8, block):
        now = reference(w, h, gone)  # later columns of `gone` are still False
        stop = min(8, start + block)
        pivots = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(start, stop)])
        errors = now[:, start:stop].square() / pivots
        count = int(fraction * 4 * stop + 0.5) - done
        gone[:, start:stop], done = chosen_by(errors, count), done + count
    assert torch.equal(chosen_by(scores, done), gone)
    assert done == int(fraction * 32 + 0.5)


def groups_of(mask, m):
    return mask.unflatten(1, (-1, m)).sum(2)


@pytest.mark.parametrize("scorer", [ExactOBS, SparseGPT])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2)])
def test_n_of_m_is_exact(scorer, n, m):
    w, h = layer_problem()
    scores = scorer(pattern=(n, m)).score(signals_of(w, h))["w"]
    grouped = scores.unflatten(1, (-1, m))
    low = grouped.argsort(dim=2, stable=True).argsort(dim=2) < m - n
    gone = low.flatten(1)
    assert bool((groups_of(gone, m) == m - n).all())
    # No tie decides: the weights that leave lie strictly below those that stay.
    top = grouped.masked_fill(~low, -1).amax(2)
    assert bool((top < grouped.masked_fill(low, float("inf")).amin(2)).all())


def test_n_of_m_columns_choose_from_what_the_columns_before_left():
    w, h = layer_problem()
    scores = SparseGPT(pattern=(2, 4), damp=0.0).score(signals_of(w, h))["w"]
    gone = torch.zeros(w.shape, dtype=torch.bool)
    for start in (0, 4):
        now = reference(w, h, gone)
        pivots = torch.stack([torch.linalg.inv(h[j:, j:])[0, 0] for j in range(start, start + 4)])
        errors = now[:, start : start + 4].square() / pivots
        torch.testing.assert_close(scores[:, start : start + 4], errors, rtol=1e-8, atol=1e-12)
        gone[:, start : start + 4] = errors.argsort(dim=1).argsort(dim=1) < 2


def test_the_greedy_skips_groups_that_are_full():
    """Brute force: of the weights whose group has room, the cheapest goes."""
    w, h = layer_problem(rows=3)
    scores = ExactOBS(pattern=(2, 4), damp=0.0).score(signals_of(w, h))["w"]
    for row in range(3):
        gone: list[int] = []
        for place in scores[row].argsort().tolist()[:4]:
            room = [
                p for p in range(8) if p not in gone and sum(q // 4 == p // 4 for q in gone) < 2
            ]
            costs = {}
            for trial in room:
                q = [*gone, trial]
                v = torch.linalg.inv(h)[q][:, q]
                costs[trial] = float(w[row, q] @ torch.linalg.solve(v, w[row, q]))
            assert place == min(costs, key=costs.get)
            gone.append(place)


def test_the_groups_of_a_convolution_run_along_its_inputs():
    g = torch.Generator().manual_seed(0)
    w = torch.randn(3, 4, 1, 2, generator=g, dtype=D)
    x = torch.randn(50, 8, generator=g, dtype=D)
    for scorer in (ExactOBS(pattern=(2, 4)), SparseGPT(pattern=(2, 4))):
        scores = scorer.score(signals_of(w, x.t() @ x / 50))["w"]
        low = scores.argsort(dim=1, stable=True).argsort(dim=1) < 2  # of 4 channels at each place
        top = scores.masked_fill(~low, -1).amax(1)
        assert bool((top < scores.masked_fill(low, float("inf")).amin(1)).all())


def test_sleepers_count_in_their_group():
    w, h = layer_problem()
    awake = torch.ones(w.shape, dtype=torch.bool)
    awake[0, 0] = awake[0, 1] = awake[1, 5] = False
    for scorer in (ExactOBS(pattern=(2, 4)), SparseGPT(pattern=(2, 4))):
        signals = signals_of(w.masked_fill(~awake, 0), h, awake)
        scores = scorer.score(signals)["w"]
        gone = (
            scores.unflatten(1, (-1, 4)).argsort(dim=2, stable=True).argsort(dim=2) < 2
        ).flatten(1)
        assert bool(gone[~awake].all())


@pytest.mark.parametrize("kind", [ExactOBS, SparseGPT])
def test_inputs_that_m_does_not_divide(kind):
    w, h = layer_problem(width=6)
    with pytest.raises(ValueError, match="4 does not divide the 6 inputs of 'w'"):
        kind(pattern=(2, 4)).score(signals_of(w, h))
