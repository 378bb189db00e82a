import math
import statistics

import pytest
import torch

from saliency import AnchorMagnitude, Magnitude, MagnitudeIncrease, Signals, StdThreshold

W = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])


@pytest.mark.parametrize(
    ("scorer", "expected"),
    [
        (Magnitude(), [[3.0, 0.5], [0.0, 2.0]]),
        (Magnitude(p=2), [[9.0, 0.25], [0.0, 4.0]]),
        (MagnitudeIncrease(), [[2.0, -1.5], [-4.0, 2.0]]),
        (AnchorMagnitude(anchor="500it"), [[1.0, 2.0], [4.0, 0.0]]),
    ],
    ids=repr,
)
def test_by_hand(scorer, expected):
    anchor = torch.tensor([[1.0, -2.0], [4.0, 0.0]])
    scores = scorer.score(Signals(weights={"w": W}, anchor={"w": anchor}))
    assert scores["w"].tolist() == expected


def test_squares_of_short_floats_neither_under_nor_overflow():
    w = torch.tensor([1e-5, 60000.0], dtype=torch.float16)
    scores = Magnitude(p=2).score(Signals(weights={"w": w}))["w"]
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, w.float() ** 2, rtol=1e-6, atol=0)
    assert Magnitude().score(Signals(weights={"w": w}))["w"].dtype == torch.float16


def test_std_is_over_the_awake_weights_of_the_tensor():
    w = torch.tensor([1.0, 5.0, 0.0, 0.0])
    awake = torch.tensor([True, True, False, False])
    signals = Signals(weights={"a": w, "b": 10 * w}, awake={"a": awake, "b": awake})
    assert StdThreshold().score(signals)["a"].tolist() == [0.5, 2.5, 0.0, 0.0]
    assert StdThreshold().score(signals)["b"].tolist() == [0.5, 2.5, 0.0, 0.0]


def test_std_scores_compare_with_a_threshold_as_published():
    w = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = StdThreshold().score(Signals(weights={"w": w}))["w"]
    for t in (0.1, 0.5, 1.5):
        assert torch.equal(scores < t, w.abs() < t * statistics.pstdev(w.tolist()))


@pytest.mark.parametrize(
    ("w", "awake"),
    [([2.0, 2.0], [True, True]), ([2.0, 0.0], [True, False]), ([0.0, 0.0], [False, False])],
)
def test_without_deviation_no_threshold_reaches_the_tensor(w, awake):
    signals = Signals(weights={"w": torch.tensor(w)}, awake={"w": torch.tensor(awake)})
    scores = StdThreshold().score(signals)["w"].tolist()
    assert scores == [torch.finfo(torch.float32).max] * 2


def test_not_a_number_is_not_hidden():
    w = torch.tensor([math.nan, 1.0])
    for scorer in (Magnitude(), Magnitude(p=2), StdThreshold()):
        assert scorer.score(Signals(weights={"w": w}))["w"].isnan().any()


def test_anchors_may_lie_in_another_dtype():
    w, anchor = torch.ones(2, dtype=torch.bfloat16), torch.tensor([3.0, -2.0])
    scores = MagnitudeIncrease().score(Signals(weights={"w": w}, anchor={"w": anchor}))["w"]
    assert (scores.dtype, scores.tolist()) == (torch.bfloat16, [-2.0, -1.0])


@pytest.mark.parametrize("p", [0, 3, 1.5, True, "1", None])
def test_wrong_power(p):
    with pytest.raises(ValueError, match=r"Magnitude\(p=.*\): p must be 1 or 2"):
        Magnitude(p=p)


@pytest.mark.parametrize("scorer", [MagnitudeIncrease, AnchorMagnitude])
def test_wrong_anchor(scorer):
    with pytest.raises(TypeError, match=rf"{scorer.__name__}\(anchor=500\).*such as 'init'"):
        scorer(anchor=500)
    with pytest.raises(ValueError, match=rf"{scorer.__name__}\(anchor=''\)"):
        scorer(anchor="")
