"""Models that take several inputs, by place and by keyword."""

import pytest
import torch
from torch import nn

import sleepengine as se


class Mix(nn.Module):
    """y = scale * (A x) + B z, with z and scale by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 2, bias=False), nn.Linear(4, 2, bias=False)

    def forward(self, x, *, z, scale=1.0):
        return scale * self.a(x) + self.b(z)


@pytest.fixture
def model():
    torch.manual_seed(0)
    mix = Mix().double().requires_grad_(False).eval()
    for weight in mix.parameters():
        weight.copy_(weight.sign())
    return mix


@pytest.fixture
def batch():
    drawn = torch.Generator().manual_seed(1)
    sizes = ((64, 3), (64, 4), (64, 2))
    return [torch.randn(size, generator=drawn, dtype=torch.float64) for size in sizes]


def prepared(batch):
    x, z, y = batch
    return se.Inputs((x,), {"z": z, "scale": 0.5}), y


@pytest.mark.parametrize("vectorize", [False, True])
def test_masks_are_learned(model, batch, vectorize):
    x, z, _ = batch
    y = 0.5 * x[:, :1] * model.a.weight[:, 0] + z[:, :2] @ model.b.weight[:, :2].T
    logits = se.MaskLogits(model)
    optimizer = torch.optim.Adam(logits.parameters(), lr=0.1)
    trainer = se.create_mask_trainer(
        model,
        nn.functional.mse_loss,
        logits,
        optimizer,
        alpha=0.2,
        vectorize=vectorize,
        prepare_batch=prepared,
    )
    trainer.run([[x, z, y]] * 150)
    assert logits.masks()["a.weight"].tolist() == [[True, False, False]] * 2
    assert logits.masks()["b.weight"].tolist() == [[True, True, False, False]] * 2


def test_a_masked_call(model, batch):
    x, z, _ = batch
    awake = {"a.weight": torch.zeros(2, 3, dtype=torch.bool)}
    given = se.Inputs((x,), {"z": z})
    assert torch.equal(se.masked_call(model, awake, given), 0.0 * model.a(x) + model.b(z))


def test_gradients_of_frozen_weights(model, batch):
    signals = se.frozen_signals(model, nn.functional.mse_loss, [prepared(batch)])
    inputs, y = prepared(batch)
    live = Mix().double()
    live.load_state_dict(model.state_dict())
    nn.functional.mse_loss(live(*inputs.args, **inputs.kwargs), y).backward()
    torch.testing.assert_close(signals.grads["b.weight"], live.b.weight.grad)


def test_parts_that_differ_in_size_are_refused(model, batch):
    x, z, y = batch
    logits = se.MaskLogits(model)
    trainer = se.create_mask_trainer(
        model,
        nn.functional.mse_loss,
        logits,
        prepare_batch=lambda b: (se.Inputs((x,), {"z": z[:4]}), y),
    )
    trainer.logger.disabled = True
    with pytest.raises(se.SetupError, match=r"samples along dimension 0; found sizes \[4, 64\]"):
        trainer.run([0])
