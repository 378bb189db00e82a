"""Gradients: masked after backward, masked again when touched, captured dense before masking."""

import copy

import pytest
import torch
from torch import nn

from sleepengine.enforcement.hooks import Enforcer

HALF = torch.tensor([[True, False, True], [False, True, False]])


def model_and_params():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    return model, dict(model.named_parameters())


def loss_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, generator=generator)
    return ((model(x) - torch.randn(5, 2, generator=generator)) ** 2).mean()


def test_clipping_sees_the_awake_network(rig):
    model, params = model_and_params()
    engine = rig(params, [torch.optim.SGD(params.values(), lr=0.1)])
    engine.sleep("weight", HALF)
    loss_of(model, 1).backward()
    masked = torch.where(HALF, torch.zeros(()), model.weight.grad)
    assert torch.equal(model.weight.grad, masked)
    norm = torch.nn.utils.clip_grad_norm_(params.values(), 1e9)
    expected = torch.cat([masked.view(-1), model.bias.grad]).norm()
    torch.testing.assert_close(norm, expected)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_scaler_does_not_skip_for_sleepers(bad, rig):
    model, params = model_and_params()
    optimizer = torch.optim.AdamW(params.values(), lr=0.1)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    model.weight.register_hook(lambda grad: torch.where(HALF, bad, grad))
    before = model.weight.detach().clone()
    scaler.scale(loss_of(model, 1)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 4.0
    assert bool((model.weight != before)[~HALF].all())
    assert torch.equal(model.weight[HALF], torch.zeros(3))


@pytest.mark.parametrize("fused", [False, True])
def test_scaler_skips_for_awake_inf(fused, rig):
    model, params = model_and_params()
    optimizer = torch.optim.AdamW(params.values(), lr=0.1, fused=fused)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    handle = model.weight.register_hook(lambda grad: grad * float("inf"))
    before = model.weight.detach().clone()
    for seed in range(2):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, seed)).backward()
        scaler.step(optimizer)
        scaler.update()
        handle.remove()
        if seed == 0:
            assert torch.equal(model.weight, before)
    assert bool((model.weight != before)[~HALF].all())
    assert torch.equal(model.weight[HALF], torch.zeros(3))


@pytest.mark.parametrize("asleep", [True, False])
@pytest.mark.parametrize("to_none", [True, False])
def test_capture_is_the_dense_gradient_of_the_accumulation(asleep, to_none, rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.1)
    engine = rig(params, [optimizer])
    if asleep:
        engine.sleep("weight", HALF)
    clone = copy.deepcopy(model)
    engine.enforcer.arm(["weight", "bias"])
    for turn in range(2):  # the first turn is a step that a scaler skipped
        optimizer.zero_grad(set_to_none=to_none)
        clone.zero_grad()
        for seed in range(3):
            loss_of(model, 3 * turn + seed).backward()
            loss_of(clone, 3 * turn + seed).backward()
    torch.nn.utils.clip_grad_norm_(params.values(), 0.01)
    captured = engine.enforcer.captured()
    assert set(captured) == {"weight", "bias"}
    assert torch.equal(captured["weight"], clone.weight.grad)
    assert torch.equal(captured["bias"], clone.bias.grad)
    optimizer.step()
    engine.enforcer.disarm()
    assert engine.enforcer.captured() == {}
    assert engine.enforcer.watched == (("weight",) if asleep else ())
    assert bool(model.weight._post_accumulate_grad_hooks) is asleep
    assert not model.bias._post_accumulate_grad_hooks


def test_capture_without_backward_reads_the_written_gradient(rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.0)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    engine.enforcer.arm(["weight", "bias"])
    model.weight.grad = torch.full((2, 3), 2.0)
    optimizer.step()
    captured = engine.enforcer.captured()
    assert list(captured) == ["weight"]
    assert torch.equal(captured["weight"], torch.full((2, 3), 2.0))
    assert torch.equal(model.weight.grad, torch.where(HALF, 0.0, 2.0))


def test_gradients_changed_after_backward_are_masked_again(rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.5)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    for write in (
        lambda: model.weight.grad.fill_(1.0),
        lambda: setattr(model.weight, "grad", torch.ones(2, 3)),
    ):
        optimizer.zero_grad()
        loss_of(model, 1).backward()
        write()
        optimizer.step()
        assert torch.equal(model.weight[HALF], torch.zeros(3))
        assert torch.equal(model.weight.grad, torch.where(HALF, 0.0, 1.0))


def test_untouched_gradient_is_not_masked_twice(rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.5)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    loss_of(model, 1).backward()
    version = model.weight.grad._version
    optimizer.step()
    assert model.weight.grad._version == version


def test_masks_that_change_between_backward_and_step(rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.5, momentum=0.9)
    engine = rig(params, [optimizer])
    loss_of(model, 1).backward()
    engine.sleep("weight", HALF)
    assert torch.equal(model.weight.grad[HALF], torch.zeros(3))
    optimizer.step()
    assert torch.equal(model.weight[HALF], torch.zeros(3))


def test_frozen_parameter_without_gradient_and_user_toggle(rig):
    model, params = model_and_params()
    model.weight.requires_grad_(False)
    optimizer = torch.optim.SGD(params.values(), lr=0.5)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    loss_of(model, 1).backward()
    optimizer.step()
    model.weight.requires_grad_(True)
    optimizer.zero_grad()
    loss_of(model, 1).backward()
    optimizer.step()  # the step hook masks what no gradient hook could
    assert torch.equal(model.weight[HALF], torch.zeros(3))


def test_sparse_embedding(rig):
    torch.manual_seed(0)
    table = nn.Embedding(6, 3, sparse=True)
    params = dict(table.named_parameters())
    asleep = torch.zeros(6, 3, dtype=torch.bool)
    asleep[2] = True
    asleep[4, 1] = True
    for kind, options in ((torch.optim.SparseAdam, {}), (torch.optim.SGD, {"momentum": 0.9})):
        optimizer = kind(list(params.values()), lr=0.1, **options)
        engine = rig(params, [optimizer])
        engine.sleep("weight", asleep)
        for _ in range(4):
            optimizer.zero_grad()
            (table(torch.tensor([2, 2, 4, 5])) - 1).pow(2).sum().backward()
            optimizer.step()
            assert torch.equal(table.weight[asleep].view(torch.int32), torch.zeros(4).int())
        before = table.weight.detach().clone()
        engine.freeze("weight", ~asleep)
        optimizer.zero_grad()
        (table(torch.tensor([2, 2, 4, 5])) - 1).pow(2).sum().backward()
        optimizer.step()
        assert torch.equal(table.weight, before)
        engine.thaw("weight", ~asleep)
        engine.wake("weight", asleep)
        engine.state.detach()
        engine.enforcer.detach()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_other_types_and_channels_last(dtype, kind, rig, words):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    params = dict(conv.named_parameters())
    optimizer = kind(params.values(), lr=0.1, weight_decay=0.1)
    engine = rig(params, [optimizer])
    asleep = torch.rand(conv.weight.shape) < 0.4
    frozen = ~asleep & (torch.rand(conv.weight.shape) < 0.5)
    engine.sleep("weight", asleep)
    engine.freeze("weight", frozen)
    kept = conv.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        conv(torch.randn(2, 4, 5, 5).to(dtype)).float().pow(2).sum().backward()
        optimizer.step()
        assert int(words(conv.weight)[asleep].count_nonzero()) == 0
        assert torch.equal(words(conv.weight)[frozen], words(kept)[frozen])
    moved = ~asleep & ~frozen
    assert bool((conv.weight != kept)[moved].any())
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_mask_every_step_catches_rewrites_that_autograd_does_not_see(rig):
    model, params = model_and_params()
    optimizer = torch.optim.SGD(params.values(), lr=0.5)
    engine = rig(params, [optimizer])
    engine.sleep("weight", HALF)
    engine.enforcer.detach()
    enforcer = Enforcer(engine.store, engine.state, mask_every_step=True)
    enforcer.attach()
    loss_of(model, 1).backward()
    model.weight.grad.data.fill_(1.0)  # as a communication hook does
    optimizer.step()
    assert torch.equal(model.weight[HALF], torch.zeros(3))
