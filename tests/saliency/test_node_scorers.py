"""Dormancy and utility against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from saliency import Dormancy, InputMagnitude, Signals, Utility, gather


def test_dormancy_of_a_layer_from_its_outputs():
    layer = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0]]))
    scorer = Dormancy(torch.relu)
    found = gather(layer, {"weight": layer.weight}, scorer.activations, [torch.ones(4, 2)])
    scores = scorer.score(Signals(weights={"weight": layer.weight}, activations=found))
    # after relu the units give 1, 0 and 3: their mean is 4/3
    torch.testing.assert_close(scores["weight"], torch.tensor([[0.75], [0.0], [2.25]]))


def test_a_silent_layer_scores_zero():
    silent = {"w": torch.zeros(2, 1)}
    scores = Dormancy().score(Signals(weights={"w": torch.ones(2, 3)}, activations=silent))
    assert scores["w"].tolist() == [[0.0], [0.0]]


def test_dormancy_takes_a_function():
    with pytest.raises(TypeError, match="through must be a function"):
        Dormancy("relu")


def test_utility_is_the_slow_sum():
    torch.manual_seed(0)
    w = [torch.randn(2, 3, dtype=torch.float64) for _ in range(5)]
    h = [torch.rand(1, 3, dtype=torch.float64) for _ in range(5)]
    utility = Utility(decay=0.9)
    for weight, used in zip(w, h, strict=True):
        utility.observe(Signals(weights={"w": weight}, activations={"w": used}))
    weights = [0.1 * 0.9 ** (4 - t) / (1 - 0.9**5) for t in range(5)]
    slow = sum(k * a.abs() * b for k, a, b in zip(weights, w, h, strict=True))
    again = Utility(decay=0.9)
    again.load_state_dict(utility.state_dict())
    for one in (utility, again):
        score = one.score(Signals(weights={"w": w[-1]}, activations={"w": h[-1]}))["w"]
        torch.testing.assert_close(score, slow, rtol=1e-12, atol=0)
    again.reset()
    fresh = again.score(Signals(weights={"w": w[0]}, activations={"w": h[0]}))["w"]
    torch.testing.assert_close(fresh, w[0].abs() * h[0])


def test_utility_refuses_a_state_without_steps():
    with pytest.raises(ValueError, match="its counts are not of the same names"):
        Utility().load_state_dict({"mean": {"w": torch.ones(1)}, "steps": {}})


def test_input_magnitude_of_a_grouped_convolution():
    conv = nn.Conv1d(4, 4, 1, groups=2, bias=False)
    x = torch.tensor([1.0, -2.0, 3.0, -4.0]).reshape(1, 4, 1).expand(2, 4, 5)
    found = gather(conv, {"weight": conv.weight}, InputMagnitude(), [x.contiguous()])["weight"]
    assert found.flatten(1).tolist() == [[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]
