"""Running with a mask: the functional call and the temporary one agree, and leave every bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sleepengine as se
from sleepengine.errors import SetupError, UnknownNameError


@pytest.fixture
def masks() -> dict[str, torch.Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return {
        "0.weight": torch.rand(5, 4, generator=drawn) > 0.4,
        "2.weight": torch.rand(3, 5, generator=drawn) > 0.4,
    }


def by_hand(model, masks, x):
    first = torch.where(masks["0.weight"], model[0].weight, 0.0)
    second = torch.where(masks["2.weight"], model[2].weight, 0.0)
    hidden = torch.tanh(nn.functional.linear(x, first, model[0].bias))
    return nn.functional.linear(hidden, second, model[2].bias)


def test_both_ways_equal_masking_by_hand(frozen_net, batch, bits, masks):
    model = frozen_net()
    before, x = bits(model), batch[0]
    store = se.MaskStore({name: p.shape for name, p in model.named_parameters()})
    store.sleep(se.Choice({name: ~mask for name, mask in masks.items()}))
    for given in (masks, se.MaskSnapshot(masks), store):
        assert torch.equal(se.masked_call(model, given, x), by_hand(model, masks, x))
        with se.masked(model, given) as same:
            assert same is model
            assert torch.equal(model(x), by_hand(frozen_net(), masks, x))
        assert bits(model) == before


def test_restores_odd_bit_patterns_and_after_errors(frozen_net, bits):
    model = frozen_net()
    model[0].weight[0] = torch.tensor([torch.nan, torch.inf, -0.0, 5e-324])
    before = bits(model)
    pointer = model[0].weight.data_ptr()

    def look() -> None:
        with se.masked(model, {"0.weight": torch.zeros(5, 4).bool()}):
            assert model[0].weight.numpy().tobytes() == bytes(5 * 4 * 8)  # +0.0, not NaN or -0.0
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert bits(model) == before
    assert model[0].weight.data_ptr() == pointer


def test_gradients_reach_the_weights_awake(frozen_net, batch, masks):
    model, other = frozen_net().requires_grad_(True), frozen_net().requires_grad_(True)
    se.masked_call(model, masks, batch[0]).sum().backward()
    by_hand(other, masks, batch[0]).sum().backward()
    for mine, wanted in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, wanted.grad)
    assert not model[0].weight.grad[~masks["0.weight"]].any()
    assert model[0].weight.grad.any()


def test_wrapped_models_and_tied_weights(frozen_net, batch, masks):
    model = frozen_net()
    wrapped = nn.DataParallel(model)
    assert torch.equal(se.masked_call(wrapped, masks, batch[0]), by_hand(model, masks, batch[0]))


def call(model, masks):
    return se.masked_call(model, masks, torch.zeros(1, 4).double())


@pytest.mark.parametrize("run", [call, lambda model, masks: se.masked(model, masks).__enter__()])
def test_errors_come_before_anything_is_written(run, frozen_net, bits):
    model = frozen_net()
    before = bits(model)
    good = torch.zeros(3, 5, dtype=torch.bool)
    for bad, kind, message in [
        ({"1.weight": good}, UnknownNameError, r"no parameter '1.weight' to mask. Did you mean"),
        ({"2.weight": good, "0.weight": good}, SetupError, r"has shape \(3, 5\), the parameter"),
        ({"2.weight": good.float()}, SetupError, "give a bool tensor"),
    ]:
        with pytest.raises(kind, match=message):
            run(model, bad)
        assert bits(model) == before
