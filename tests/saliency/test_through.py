"""Activation functions by name are those of torch."""

import pytest
import torch

from saliency import Dormancy, Through, gather


@pytest.mark.parametrize("through", Through, ids=lambda one: one.name)
def test_each_is_the_layer_of_its_name(through):
    x = torch.linspace(-3, 3, 7)
    layers = {
        layer.__name__.lower(): layer
        for layer in vars(torch.nn).values()
        if isinstance(layer, type)
    }
    assert torch.equal(through(x), layers[through.value]()(x))


def test_dormancy_takes_a_name_for_a_function():
    layer, x = torch.nn.Linear(3, 4), [torch.randn(5, 3)]
    weights = {"weight": layer.weight}
    by_name, by_function = Dormancy(Through.RELU), Dormancy(torch.relu)
    found = [gather(layer, weights, one.activations, x)["weight"] for one in (by_name, by_function)]
    assert torch.equal(*found)
    assert repr(by_name) == "Dormancy(through=Through.RELU)"
