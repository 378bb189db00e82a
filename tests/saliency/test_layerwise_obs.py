"""Layer-wise OBS against least squares and brute force, in float64."""

import itertools

import pytest
import torch
from torch import nn

from saliency import CompensatingScorer, ExactOBS, InputGram, Signals, SparseGPT, gather

D = torch.float64


def layer_problem(rows=3, width=6, positions=40, seed=0):
    """Weights, inputs with correlated columns, and their mean outer product."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.eye(width, dtype=D) + 0.4 * torch.randn(width, width, generator=g, dtype=D)
    x = torch.randn(positions, width, generator=g, dtype=D) @ mix
    w = torch.randn(rows, width, generator=g, dtype=D)
    return w, x, (x.t() @ x / positions).unsqueeze(0)


def signals_of(w, gram, awake=None):
    held = {} if awake is None else {"w": awake}
    w = w if awake is None else w.masked_fill(~awake, 0)
    return Signals(weights={"w": w}, activations={"w": gram}, awake=held)


def least_squares(x, w, kept):
    """Each row's best weights on the kept inputs for the outputs of all."""
    best = torch.zeros_like(w)
    for row in range(len(w)):
        on = kept[row].nonzero()[:, 0]
        solution = torch.linalg.lstsq(x[:, on], (x @ w[row]).unsqueeze(1)).solution
        best[row, on] = solution[:, 0]
    return best


def error(x, w, v):
    """Mean squared change of each row's output."""
    return (x @ (w - v).t()).square().mean(0)


def with_update(scorer, choice, signals):
    w = signals.weights["w"]
    return (w + scorer.compensate({"w": choice}, signals)["w"]).masked_fill(choice, 0)


def test_the_update_is_the_least_squares_refit_on_its_own_mask():
    w, x, gram = layer_problem()
    signals = signals_of(w, gram)
    obs = ExactOBS(damp=0.0)
    ranks = obs.score(signals)["w"].argsort(dim=1).argsort(dim=1)
    for k in range(1, 6):
        choice = ranks < k
        found = with_update(obs, choice, signals)
        torch.testing.assert_close(found, least_squares(x, w, ~choice), rtol=1e-8, atol=1e-10)


def test_the_update_knows_what_sleeps_already():
    w, x, gram = layer_problem()
    awake = torch.ones_like(w, dtype=torch.bool)
    awake[0, 1] = awake[2, 0] = awake[2, 5] = False
    signals = signals_of(w, gram, awake)
    choice = torch.zeros_like(awake)
    choice[0, 2] = choice[2, 4] = True
    found = with_update(ExactOBS(damp=0.0), choice, signals)
    expected = least_squares(x, signals.weights["w"], awake & ~choice)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert torch.equal(found[1], w[1])  # nothing of this row was chosen


@pytest.mark.parametrize("seed", range(5))
def test_each_step_of_the_greedy_is_the_best_single_removal(seed):
    """Brute force: try every remaining weight, refit, and take the least error."""
    w, x, gram = layer_problem(rows=2, width=5, seed=seed)
    scores = ExactOBS(damp=0.0).score(signals_of(w, gram))["w"]
    for row in range(len(w)):
        gone, last, reached = [], 0.0, 0.0
        for place in scores[row].argsort().tolist():
            costs = {}
            for trial in set(range(5)) - set(gone):
                kept = torch.ones(1, 5, dtype=torch.bool)
                kept[0, [*gone, trial]] = False
                v = least_squares(x, w[row : row + 1], kept)
                costs[trial] = float(error(x, w[row : row + 1], v))
            assert min(costs, key=costs.get) == place
            # A score is the step's error, unless an earlier step cost more.
            last = max(last, costs[place] - reached)
            assert float(scores[row, place]) == pytest.approx(last, rel=1e-6)
            gone, reached = [*gone, place], costs[place]


def test_the_first_removal_is_the_best_of_all_masks():
    w, x, gram = layer_problem(rows=1, width=4)
    scores = ExactOBS(damp=0.0).score(signals_of(w, gram))["w"]
    errors = []
    for place in range(4):
        kept = torch.ones(1, 4, dtype=torch.bool)
        kept[0, place] = False
        errors.append(float(error(x, w, least_squares(x, w, kept))))
    assert scores.min().item() == pytest.approx(min(errors))
    assert int(scores.argmin()) == errors.index(min(errors))


def test_with_uncorrelated_inputs_the_greedy_is_optimal():
    w, _, _ = layer_problem(rows=1, width=6)
    h = torch.linspace(0.5, 3.0, 6, dtype=D)
    scores = ExactOBS(damp=0.0).score(signals_of(w, torch.diag(h).unsqueeze(0)))["w"]
    torch.testing.assert_close(scores, w.square() * h, rtol=1e-6, atol=0)
    cost = (w.square() * h)[0]
    best = min(itertools.combinations(range(6), 3), key=lambda on: float(cost[list(on)].sum()))
    assert set(scores[0].argsort()[:3].tolist()) == set(best)


def test_sleeping_weights_score_zero_and_are_left_out():
    w, _, gram = layer_problem(rows=2, width=4)
    awake = torch.tensor([[True, True, False, True], [True, False, False, True]])
    scores = ExactOBS(damp=0.0).score(signals_of(w, gram, awake))["w"]
    assert torch.equal(scores > 0, awake)
    on = [0, 1, 3]
    alone = signals_of(w[:1, on], gram[:, on][:, :, on])
    torch.testing.assert_close(scores[:1, on], ExactOBS(damp=0.0).score(alone)["w"])


SCORERS = [
    ExactOBS(),
    ExactOBS(pattern=(1, 2)),
    SparseGPT(),
    SparseGPT(fraction=0.5),
    SparseGPT(pattern=(2, 4)),
]


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_dead_inputs_are_worth_nothing_and_disturb_nothing(scorer):
    w, x, _ = layer_problem(rows=3, width=8)
    x[:, 3] = 0.0
    gram = (x.t() @ x / len(x)).unsqueeze(0)
    signals = signals_of(w, gram)
    scores = scorer.score(signals)["w"]
    assert bool((scores[:, 3] <= scores.min(dim=1).values).all())
    choice = torch.zeros_like(w, dtype=torch.bool)
    choice[:, 3] = True
    assert not scorer.compensate({"w": choice}, signals)["w"].any()


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_compensation_beats_leaving_the_rest_alone(scorer):
    w, x, gram = layer_problem(rows=16, width=16, positions=200)
    signals = signals_of(w, gram)
    choice = scorer.score(signals)["w"].argsort(dim=1).argsort(dim=1) < 8
    update = scorer.compensate({"w": choice}, signals)["w"]
    assert not update[choice].any()
    plain = w.masked_fill(choice, 0)
    assert error(x, w, plain + update).sum() < 0.9 * error(x, w, plain).sum()


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_groups_are_layers_of_their_own(scorer):
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 6, 2, groups=2, bias=False).double()
    gram = gather(conv, {"w": conv.weight}, InputGram(), [torch.randn(9, 8, 4, 4, dtype=D)])["w"]
    whole = scorer.score(signals_of(conv.weight.detach(), gram))["w"]
    halves = [
        scorer.score(signals_of(w, one.unsqueeze(0)))["w"]
        for w, one in zip(conv.weight.detach().chunk(2), gram, strict=True)
    ]
    if isinstance(scorer, SparseGPT) and scorer.fraction is not None:
        halves = [half.argsort() for half in halves]  # lifted by another tensor's threshold
        whole = torch.cat([half.argsort() for half in whole.chunk(2)])
    torch.testing.assert_close(whole, torch.cat(halves))


def test_damp_adds_a_share_of_the_mean_diagonal():
    w, _, gram = layer_problem(rows=1, width=3)
    wet = gram + 0.1 * gram[0].diagonal().mean() * torch.eye(3, dtype=D)
    damped = ExactOBS(damp=0.1).score(signals_of(w, gram))["w"]
    torch.testing.assert_close(damped, ExactOBS(damp=0.0).score(signals_of(w, wet))["w"])


@pytest.mark.parametrize("scorer", [ExactOBS(accumulate=True), SparseGPT(accumulate=True)])
def test_observed_moments_are_averaged(scorer):
    w, x, gram = layer_problem(positions=40)
    for half in x.chunk(4):
        scorer.observe(signals_of(w, (half.t() @ half / 10).unsqueeze(0)))
    nonsense = signals_of(w, torch.eye(6, dtype=D).unsqueeze(0))
    alone = type(scorer)().score(signals_of(w, gram))["w"]
    torch.testing.assert_close(scorer.score(nonsense)["w"], alone)
    scorer.reset()
    assert not torch.allclose(scorer.score(nonsense)["w"], alone)


@pytest.mark.parametrize("kind", [ExactOBS, SparseGPT])
def test_singular_moments_without_damp_say_so(kind):
    w, x, _ = layer_problem(positions=3)
    gram = (x.t() @ x / 3).unsqueeze(0)
    with pytest.raises(ValueError, match=r"of 'w' are not positive definite. Give more batches"):
        kind(damp=0.0).score(signals_of(w, gram))
    kind(damp=0.01).score(signals_of(w, gram))


@pytest.mark.parametrize("kind", [ExactOBS, SparseGPT])
@pytest.mark.parametrize(
    ("w", "gram", "said"),
    [
        (torch.ones(2, 3), torch.ones(2, 3), r"activations of 'w' have shape \(2, 3\)"),
        (torch.ones(2, 3), torch.ones(1, 2, 2), r"must be \(groups, 3, 3\)"),
        (torch.ones(3, 2), torch.eye(2).expand(2, 2, 2), "groups that divide its rows"),
        (torch.ones(2, 2), torch.full((1, 2, 2), float("nan")), "not finite"),
        (torch.ones(3), torch.ones(1, 1, 1), r"shape \(3,\); it needs 2 or more"),
    ],
)
def test_activations_that_do_not_fit(kind, w, gram, said):
    with pytest.raises(ValueError, match=said):
        kind().score(signals_of(w, gram))


@pytest.mark.parametrize("kind", [ExactOBS, SparseGPT])
@pytest.mark.parametrize(
    ("arguments", "error_", "said"),
    [
        ({"damp": -0.1}, ValueError, "damp must lie in 0 <= damp < 1"),
        ({"damp": "x"}, TypeError, "damp must be a number"),
        ({"accumulate": 3}, TypeError, "accumulate must be True or False"),
        ({"pattern": 2}, ValueError, "pattern must be"),
        ({"pattern": (4, 4)}, ValueError, "0 < n < m"),
        ({"pattern": (2.0, 4)}, ValueError, "0 < n < m"),
    ],
)
def test_wrong_arguments(kind, arguments, error_, said):
    with pytest.raises(error_, match=said):
        kind(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error_", "said"),
    [
        ({"fraction": 1.0}, ValueError, "0 <= fraction < 1"),
        ({"fraction": 0.5, "pattern": (2, 4)}, ValueError, "give one of them"),
        ({"block": 0}, ValueError, "block must be 1 or more"),
    ],
)
def test_wrong_arguments_of_sparse_gpt(arguments, error_, said):
    with pytest.raises(error_, match=said):
        SparseGPT(**arguments)


def test_both_compensate():
    assert issubclass(ExactOBS, CompensatingScorer)
    assert issubclass(SparseGPT, CompensatingScorer)
