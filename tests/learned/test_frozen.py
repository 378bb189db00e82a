"""The model keeps every bit, and whatever would change it is refused or found."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepengine.errors import LeakError, SetupError, UnknownNameError
from sleepengine.learned.frozen import FrozenModel, scope
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.trainer import create_mask_trainer

LOSS = nn.functional.cross_entropy


class Counting(nn.Module):
    """Adds how often it was called: a buffer that the forward pass writes into."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x + self.calls


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_weights_and_buffers_keep_every_bit(frozen_net, batch, bits):
    model = frozen_net(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)
    )
    model[1].running_mean.normal_()
    parameters, before = list(model.parameters()), bits(model)
    logits = MaskLogits(model)
    create_mask_trainer(model, LOSS, logits).run([batch] * 15, max_epochs=2)
    assert bits(model) == before
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not model.training


def test_a_tied_weight_is_masked_in_both_places(frozen_net):
    model = frozen_net(Tied())
    x = torch.randn(3, 4, dtype=torch.float64)
    gates = torch.rand(4, 4, dtype=torch.float64)
    masked = model[0].a.weight * gates
    wanted = nn.functional.linear(
        nn.functional.linear(x, masked, model[0].a.bias), masked, model[0].b.bias
    )
    assert torch.equal(FrozenModel(model).call({"0.a.weight": gates}, x), wanted)
    assert MaskLogits(model).names == ("0.a.weight",)


def test_scope_of_a_frozen_model_leaves_its_flags_alone(frozen_net):
    model = frozen_net()
    model[0].bias.requires_grad_(True)
    assert scope(model, None) == ("0.weight", "2.weight")
    assert scope(model, "2") == ("2.weight",)
    assert scope(nn.DataParallel(model), "*.bias") == ("0.bias", "2.bias")
    assert [p.requires_grad for p in model.parameters()] == [False, True, False, False]


def test_a_model_that_is_not_frozen_is_refused(frozen_net):
    model = frozen_net()
    logits = MaskLogits(model)
    model[2].requires_grad_(True)
    with pytest.raises(SetupError, match=r"not frozen: '2.weight', '2.bias' require gradients"):
        create_mask_trainer(model, LOSS, logits)


def test_batch_norm_in_train_mode_is_refused_at_once_and_later(frozen_net, batch, bits):
    model = frozen_net(nn.Linear(4, 3), nn.BatchNorm1d(3))
    logits = MaskLogits(model)
    model.train()
    with pytest.raises(SetupError, match=r"'1' \(BatchNorm1d\) is in train mode.*model.eval\(\)"):
        create_mask_trainer(model, LOSS, logits)
    model.eval()
    trainer = create_mask_trainer(model, LOSS, logits)
    before = bits(model)
    model.train()  # as an evaluation that ends with model.train()
    with pytest.raises(SetupError, match="would not stay frozen"):
        trainer.run([batch])
    assert bits(model) == before


def test_a_layer_that_writes_buffers_in_eval_mode_is_named_and_undone(frozen_net, batch, bits):
    model = frozen_net(nn.Linear(4, 3), Counting())
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model))
    before = bits(model)
    with pytest.raises(SetupError, match=r"writes into the buffers '1.calls'"):
        trainer.run([batch])
    assert bits(model) == before


def test_weights_changed_by_others_are_found(frozen_net, batch):
    model = frozen_net()
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model))
    model[0].weight.data[0, 0] += 1
    with pytest.raises(LeakError, match=r"'0.weight' changed while masks were learned"):
        trainer.run([batch])
    create_mask_trainer(model, LOSS, MaskLogits(model)).run([batch])  # from here on it is fine


def test_loading_the_same_weights_again_is_no_change(frozen_net, batch):
    model = frozen_net()
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model))
    model.load_state_dict(model.state_dict())
    trainer.run([batch])


def test_nothing_to_mask():
    with pytest.raises(SetupError, match=r"no parameter to mask.*there: weight, bias"):
        MaskLogits(nn.LayerNorm(3))
    with pytest.raises(UnknownNameError, match=r"Did you mean '0.weight'"):
        MaskLogits(nn.Sequential(nn.Linear(2, 2)), params="0.wieght")
    with pytest.raises(SetupError, match=r"is not a torch\.nn\.Module"):
        MaskLogits("model")
