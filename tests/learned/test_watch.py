"""Mistakes that people make with masks on frozen networks, each with a message of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sleepengine.errors import SetupError
from sleepengine.learned.deterministic import StraightThrough, TopK
from sleepengine.learned.logits import MaskLogits
from sleepengine.learned.stochastic import GumbelSigmoid
from sleepengine.learned.trainer import create_mask_trainer

LOSS = nn.functional.cross_entropy


class NoGrad(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            return x * 2


class Rewrapped(nn.Module):
    """The weight goes through a new Parameter, which cuts the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return nn.functional.linear(x, nn.Parameter(self.inner.weight.detach(), False))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.used(x)


def adam(logits: MaskLogits) -> torch.optim.Adam:
    return torch.optim.Adam(logits.parameters(), lr=1e-2)


def test_optimizer_over_the_weights(frozen_net):
    model = frozen_net()
    wrong = torch.optim.Adam(model.parameters(), lr=1e-2)
    with pytest.raises(SetupError, match=r"holds weights of the model \('0.weight', .*only logits"):
        create_mask_trainer(model, LOSS, MaskLogits(model), wrong)


def test_optimizer_over_other_logits(frozen_net):
    model = frozen_net()
    old, new = MaskLogits(model), MaskLogits(model)
    with pytest.raises(SetupError, match=r"lacks the logits of '0.weight', '2.weight'"):
        create_mask_trainer(model, LOSS, new, adam(old))
    both = torch.optim.Adam([*old.parameters(), *new.parameters()])
    with pytest.raises(SetupError, match="holds 2 tensors that are not these logits"):
        create_mask_trainer(model, LOSS, new, both)


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda out, y: LOSS(out, y).detach(), "the loss is detached"),
        (lambda out, y: LOSS(out, y).detach().requires_grad_(True), "mends nothing"),
        (lambda out, y: (out.argmax(1) == y).double().mean(), "the loss is detached"),
        (lambda out, y: LOSS(out, y).item(), "one number as a tensor, found float"),
        (lambda out, y: LOSS(out, y, reduction="none"), r"found \(2,\)"),
        (lambda out, y: LOSS(out, y) / 0, "the loss is inf"),
    ],
)
def test_losses_that_teach_nothing(loss_fn, message, frozen_net, batch):
    model = frozen_net()
    trainer = create_mask_trainer(model, loss_fn, MaskLogits(model))
    with pytest.raises(SetupError, match=message):
        trainer.run([batch])


@pytest.mark.parametrize("cut", [nn.Sequential(nn.Linear(4, 3), NoGrad()), Rewrapped()])
def test_a_forward_pass_that_cuts_the_graph(cut, frozen_net, batch):
    model = frozen_net(cut)
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model))
    with pytest.raises(SetupError, match="does not depend on the masks: its forward runs under"):
        trainer.run([batch])


def test_a_run_inside_no_grad_works_all_the_same(frozen_net, batch):
    model = frozen_net()
    logits = MaskLogits(model)
    with torch.no_grad():
        create_mask_trainer(model, LOSS, logits).run([batch])
    assert not bool((logits.parameters()[0] == 2).any())


def test_logits_that_do_not_move(frozen_net, batch):
    model = frozen_net()
    logits = MaskLogits(model)
    still = torch.optim.SGD(logits.parameters(), lr=0.0)
    with pytest.raises(SetupError, match=r"not one logit moved in 10 steps.*lr is \[0.0\]"):
        create_mask_trainer(model, LOSS, logits, still).run([batch] * 20)


def test_a_layer_that_is_not_used(frozen_net, batch):
    model = frozen_net(Unused())
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model), alpha=0.0)
    with pytest.warns(UserWarning, match=r"no gradient to the logits of '0.idle.weight'"):
        trainer.run([batch] * 10)
    trainer = create_mask_trainer(model, LOSS, MaskLogits(model, params="0.idle"), alpha=0.0)
    with pytest.raises(SetupError, match="does not depend on the masks"):
        trainer.run([batch])


def test_a_penalty_does_not_hide_that_the_loss_gives_no_gradient(frozen_net, batch):
    model = frozen_net()
    logits = MaskLogits(model, GumbelSigmoid(init=200.0))  # the sigmoid is flat out there
    trainer = create_mask_trainer(model, LOSS, logits)
    with pytest.warns(UserWarning, match="logits far out where the relaxation is flat"):
        trainer.run([batch] * 10)
    assert bool((logits.parameters()[0] < 200).all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0: a whole number above 0"),
        ({"alpha": -1.0}, "alpha=-1.0: a number, 0 or more"),
        ({"clip": 0}, "clip=0: a number above 0, or None"),
    ],
)
def test_numbers_out_of_range(options, message, frozen_net):
    model = frozen_net()
    with pytest.raises(SetupError, match=message):
        create_mask_trainer(model, LOSS, MaskLogits(model), **options)


def test_options_that_a_relaxation_has_no_use_for(frozen_net):
    model = frozen_net()
    with pytest.raises(SetupError, match=r"samples=4.*draws no noise"):
        create_mask_trainer(model, LOSS, MaskLogits(model, StraightThrough()), samples=4)
    with pytest.raises(SetupError, match=r"alpha=0.1.*has no penalty"):
        create_mask_trainer(model, LOSS, MaskLogits(model, TopK()), alpha=0.1)


def test_logits_of_another_model(frozen_net):
    logits = MaskLogits(frozen_net())
    with pytest.raises(SetupError, match=r"of another model: it has no '2.weight' \(3, 5\)"):
        create_mask_trainer(frozen_net(nn.Linear(4, 5)), LOSS, logits)
    with pytest.raises(SetupError, match=r"give MaskLogits\(model"):
        create_mask_trainer(frozen_net(), LOSS, [torch.zeros(3)])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([torch.zeros(3, 4)], "no pair"),
        ([(torch.zeros(()), torch.zeros(()))], "samples along dimension 0"),
        ([({"a": torch.zeros(3), "b": torch.zeros(2)}, torch.zeros(3))], r"found sizes \[2, 3\]"),
    ],
)
def test_batches_that_cannot_be_cut(data: list[Tensor], message, frozen_net):
    model = frozen_net()
    with pytest.raises(SetupError, match=message):
        create_mask_trainer(model, LOSS, MaskLogits(model)).run(data)
