"""Wanda and the activity of units, against formulas written out."""

import pytest
import torch
from torch import nn

from saliency import (
    ActivationVariance,
    APoZ,
    InputMoment,
    MeanActivation,
    Normalized,
    OutputMagnitude,
    Signals,
    Sum,
    Wanda,
    gather,
)

D = torch.float64


def layer(rows=3, width=4):
    torch.manual_seed(0)
    return nn.Linear(width, rows, bias=False).double()


def signals_of(layer, request, *batches):
    held = {"weight": layer.weight}
    return Signals(
        weights={"weight": layer.weight.detach()},
        activations=gather(layer, held, request, batches),
    )


def test_wanda_is_weight_times_norm():
    fc, x = layer(), torch.randn(50, 4, dtype=D)
    scores = Wanda().score(signals_of(fc, Wanda().activations, x))["weight"]
    norms = torch.linalg.vector_norm(x, dim=0)
    torch.testing.assert_close(scores * 50**0.5, fc.weight.detach().abs() * norms)


def test_wanda_on_a_convolution_sees_the_window():
    conv = nn.Conv1d(2, 2, 2, bias=False).double()
    x = torch.randn(3, 2, 5, dtype=D)
    scores = Wanda().score(signals_of(conv, InputMoment(), x))["weight"]
    # Tap 1 of channel 0 meets positions 1 to 4 of each of the 3 samples.
    rms = (x[:, 0, 1:].square().sum() / 12).sqrt()
    torch.testing.assert_close(scores[1, 0, 1], conv.weight[1, 0, 1].detach().abs() * rms)


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [
        (MeanActivation(), lambda a: a.abs().mean(0)),
        (MeanActivation(through=torch.relu), lambda a: a.relu().mean(0)),
        (MeanActivation(through=nn.Tanh()), lambda a: a.tanh().abs().mean(0)),
        (APoZ(), lambda a: (a > 0).double().mean(0)),
        (ActivationVariance(), lambda a: a.var(0, correction=0)),
        (ActivationVariance(through=torch.relu), lambda a: a.relu().var(0, correction=0)),
    ],
    ids=["mean", "mean_relu", "mean_tanh", "apoz", "variance", "variance_relu"],
)
def test_units(scorer, expected):
    fc, x = layer(), torch.randn(50, 4, dtype=D)
    scores = scorer.score(signals_of(fc, scorer.activations, x[:20], x[20:]))["weight"]
    assert scores.shape == (3, 1)
    torch.testing.assert_close(scores[:, 0], expected(fc(x).detach()))


def test_units_of_a_convolution_are_channels():
    conv, scorer = nn.Conv2d(2, 3, 2).double(), MeanActivation()
    x = torch.randn(4, 2, 5, 5, dtype=D)
    scores = scorer.score(signals_of(conv, scorer.activations, x))["weight"]
    assert scores.shape == (3, 1, 1, 1)
    torch.testing.assert_close(scores[:, 0, 0, 0], conv(x).detach().abs().mean((0, 2, 3)))


@pytest.mark.parametrize(
    "kind", [Wanda, MeanActivation, APoZ, ActivationVariance], ids=lambda kind: kind.__name__
)
def test_steps_are_averaged_like_one_long_batch(kind):
    fc, x = layer(), torch.randn(60, 4, dtype=D)
    scorer = kind(accumulate=True)
    for part in x.chunk(3):
        scorer.observe(signals_of(fc, scorer.activations, part))
    now = signals_of(fc, scorer.activations, torch.randn(5, 4, dtype=D))
    whole = kind().score(signals_of(fc, kind().activations, x))["weight"]
    torch.testing.assert_close(scorer.score(now)["weight"], whole)
    again = kind(accumulate=True)
    again.load_state_dict(scorer.state_dict())
    assert torch.equal(again.score(now)["weight"], scorer.score(now)["weight"])
    scorer.reset()
    torch.testing.assert_close(scorer.score(now), kind().score(now))


def test_without_accumulate_nothing_is_kept():
    assert not Wanda().accumulates
    assert Wanda().state_dict() == {}
    assert Wanda(accumulate=True).accumulates


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"mean": {}}, r"keys \['mean'\]"),
        ({"mean": {"w": torch.ones(1)}, "steps": {}}, "not of the same names"),
        ({"mean": {"w": torch.ones(1)}, "steps": {"w": 0}}, "observed on 0 steps"),
        ({"mean": {"w": torch.ones(1)}, "steps": {"w": True}}, "observed on True steps"),
        ({"mean": {"w": 3}, "steps": {"w": 1}}, "not a tensor"),
    ],
)
def test_states_that_do_not_fit(state, said):
    scorer = Wanda(accumulate=True)
    scorer.observe(signals_of(layer(), InputMoment(), torch.ones(2, 4, dtype=D)))
    before = scorer.state_dict()
    with pytest.raises(ValueError, match=said):
        scorer.load_state_dict(state)
    assert scorer.state_dict()["steps"] == before["steps"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Wanda(accumulate=4), "accumulate must be True or False"),
        (lambda: MeanActivation(through=3), "through must be a function"),
        (lambda: ActivationVariance(through="relu"), "through must be a function"),
    ],
)
def test_wrong_arguments(call, said):
    with pytest.raises(TypeError, match=said):
        call()


def test_repr_is_the_same_in_every_process():
    assert repr(MeanActivation(through=torch.relu)) == "MeanActivation(through=relu)"
    assert repr(OutputMagnitude(nn.ReLU())) == "OutputMagnitude(through=ReLU())"


def test_wrappers_pass_the_request_on():
    assert Normalized(Wanda()).activations == InputMoment()
    assert Sum(Wanda(), Wanda()).activations == InputMoment()
    with pytest.raises(ValueError, match="need different activations"):
        Sum(Wanda(), APoZ())
