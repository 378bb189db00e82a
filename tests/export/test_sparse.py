"""Sparse linear layers against dense ones."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sleepengine import Global, Magnitude, Rule, SetupError, Sleep, SleepEngine, Who, once, to
from sleepengine.export import SparseLinear, sparse_model, two_of_four_model
from sleepengine.export.semi_structured import unfit


def pruned(share=0.9, sizes=(32, 48, 16)):
    a, b, c = sizes
    net = nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c))
    engine = SleepEngine(net)
    engine.fire(Rule(once("0it"), Who(Magnitude(), pools=Global(), amount=to(share)), Sleep()))
    return engine


@pytest.mark.parametrize("shape", [(5, 32), (32,), (2, 3, 32), (0, 32)], ids=str)
@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_its_dense_twin(shape, block, bias):
    weight = torch.randn(16, 32) * (torch.rand(16, 32) < 0.2)
    dense = nn.Linear(32, 16, bias=bias)
    with torch.no_grad():
        dense.weight.copy_(weight)
    layer = SparseLinear(dense.weight, dense.bias, block)
    x = torch.randn(shape)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(layer.weight.to_dense(), weight)
    if block is None:
        assert layer.values.numel() == weight.count_nonzero()


@pytest.mark.parametrize("block", [None, 2])
def test_the_model_and_its_report(block):
    engine = pruned(0.95)
    x = torch.randn(8, 32)
    exported = sparse_model(engine, x, block=block, at_least=0.5)
    torch.testing.assert_close(exported.model(x), engine.model(x).detach(), rtol=1e-5, atol=1e-6)
    assert all(isinstance(exported.model[i], SparseLinear) for i in (0, 2))
    assert type(engine.model[0]) is nn.Linear
    report = exported.report
    assert set(report.changed) == {"0", "2"}
    assert report.parameters[0] == 32 * 48 + 48 + 48 * 16 + 16
    if block is None:
        awake = sum(int((~engine.is_sleeping(n)).sum()) for n in ("0", "2"))
        assert report.parameters[1] == awake + 48 + 16
        assert report.bytes[1] == 8 * awake + 4 * (49 + 17) + 4 * (48 + 16)
    copied = copy.deepcopy(exported.model)
    other = sparse_model(engine, x, block=block, at_least=0.5).model
    with torch.no_grad():
        other[0].values.zero_()
    other.load_state_dict(copied.state_dict())
    assert torch.equal(other(x), copied(x))


def test_layers_with_few_zeros_stay():
    engine = pruned(0.5)
    engine.sleep_weights("2", (slice(0, 14), slice(None)))
    report = sparse_model(engine, torch.randn(2, 32)).report
    assert set(report.changed) == {"2"}
    assert report.left["0"].endswith("of its weights are zero")
    engine.wake_weights("2")
    with pytest.raises(SetupError, match=r"no linear layer has 0.7 zeros: 0: 0\.\d+ of its"):
        sparse_model(engine, torch.randn(2, 32))


def test_a_layer_that_is_held_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(8, 8)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x).relu())

    engine = SleepEngine(Twice())
    engine.sleep_weights("a", (slice(0, 7), slice(None)))
    model = sparse_model(engine, torch.randn(3, 8)).model
    assert model.a is model.b
    assert isinstance(model.a, SparseLinear)


def test_modules_that_read_weights_themselves():
    attention = nn.MultiheadAttention(8, 2)
    engine = SleepEngine(attention)
    x = torch.randn(3, 1, 8)
    engine.sleep_weights("out_proj.weight", (slice(0, 7), slice(None)))
    with pytest.raises(SetupError, match="it has none"):
        sparse_model(engine, (x, x, x))
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    engine = SleepEngine(layer)
    engine.sleep_weights("linear1", (slice(0, 15), slice(None)))
    with pytest.raises(SetupError, match="reads the weights"):
        sparse_model(engine, x)


def test_wrong_arguments():
    engine = pruned()
    with pytest.raises(SetupError, match="at_least=90"):
        sparse_model(engine, torch.zeros(1, 32), at_least=90)
    with pytest.raises(SetupError, match="the side of a square block"):
        sparse_model(engine, torch.zeros(1, 32), block=(4, 4))
    with pytest.raises(SetupError, match="do not divide a weight"):
        SparseLinear(torch.zeros(4, 4), None, 3)
    with pytest.raises(SetupError, match=r"0: blocks of 7 x 7 do not divide \(48, 32\)"):
        sparse_model(engine, torch.zeros(1, 32), block=7)


def test_two_of_four_is_refused_on_a_cpu():
    with pytest.raises(SetupError, match="sparse tensor cores, and the model is on cpu"):
        two_of_four_model(pruned(), torch.zeros(1, 32))


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (torch.ones(2, 8), "float32 is neither"),
        (torch.ones(2, 6).half(), "6 inputs do not divide"),
        (torch.tensor([[1, 1, 1, 0]]).half(), "more than 2 of 4"),
        (torch.tensor([[1, 0, 1, 0]]).half(), None),
    ],
    ids=["dtype", "width", "pattern", "fits"],
)
def test_what_fits_two_of_four(weight, reason):
    found = unfit(weight)
    assert found is None if reason is None else reason in found


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="needs a GPU with sparse tensor cores",
)
def test_two_of_four_on_a_gpu():
    engine = pruned(0.0, (128, 256, 128))
    engine.model.to("cuda", torch.float16)
    engine = SleepEngine(engine.model)
    engine.sleep_weights("0", (slice(None), slice(0, None, 4)))
    engine.sleep_weights("0", (slice(None), slice(1, None, 4)))
    x = torch.randn(64, 128, device="cuda", dtype=torch.float16)
    exported = two_of_four_model(engine, x)
    assert set(exported.report.changed) == {"0"}
    assert exported.report.difference <= 1e-2
