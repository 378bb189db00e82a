"""Groups that are found equal those that are written by hand; what is not found is named."""

import dataclasses

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")

from sleepengine import SetupError, SleepEngine, find_groups
from sleepengine.nodes import Slice
from sleepengine.nodes.hand_written import attention_heads, recurrent_units


def parts(group):
    return (
        group.size,
        set(group.produces),
        set(group.consumes),
        set(group.per_node),
        set(group.buffers),
        set(group.read_by),
    )


def test_mlp(mlp, mlp_groups):
    found = find_groups(mlp, torch.randn(2, 4, dtype=torch.float64))
    assert [group.name for group in found] == ["0", "2"]
    assert [parts(group) for group in found] == [parts(group) for group in mlp_groups]
    assert found.left_out == {"4": "its outputs are read by the output of the model alone"}


def test_residual(residual, residual_group):
    before = {name: value.clone() for name, value in residual.state_dict().items()}
    residual.train()
    state = torch.random.get_rng_state()
    (group,) = find_groups(
        residual, torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator())
    )
    assert parts(group) == parts(residual_group)
    assert residual.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(v, before[n]) for n, v in residual.state_dict().items())
    assert not any(module._forward_hooks for module in residual.modules())


def conv(*layers):
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("net", "shape", "name", "produces", "consumes"),
    [
        (
            conv(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, groups=2)),
            (1, 2, 3, 3),
            "0",
            [Slice("0.weight")],
            [Slice("2.weight", 1, groups=2)],
        ),
        (
            conv(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 2, groups=3), nn.Conv2d(3, 1, 1)),
            (1, 2, 3, 3),
            "0",
            [Slice("0.weight"), Slice("1.weight")],
            [Slice("2.weight", 1)],
        ),
        (
            conv(nn.ConvTranspose2d(2, 4, 2, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2)),
            (1, 2, 3, 3),
            "0",
            [Slice("0.weight", 1, groups=2)],
            [Slice("2.weight", 0)],
        ),
        (
            conv(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)),
            (1, 2, 6),
            "0",
            [Slice("0.weight")],
            [Slice("3.weight", 1, 0, 4, 4)],
        ),
        (
            conv(nn.Conv3d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)),
            (1, 1, 3, 3, 3),
            "0",
            [Slice("0.weight")],
            [Slice("3.weight", 1, 0, 8, 8)],
        ),
        (
            conv(nn.Conv2d(1, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
            (1, 1, 4, 4),
            "0",
            [Slice("0.weight")],
            [Slice("3.weight", 1)],
        ),
    ],
    ids=["grouped", "depthwise", "transposed", "flat-1d", "flat-3d", "pooled"],
)
def test_convolutions(net, shape, name, produces, consumes):
    (group,) = [g for g in find_groups(net, torch.randn(shape)) if g.name == name]
    assert set(group.produces) == set(produces)
    assert set(group.consumes) == set(consumes)
    assert not group.read_by


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 2), nn.Linear(5, 2)

    def forward(self, x):
        return self.c(torch.cat([self.a(x).relu(), self.b(x).relu()], 1))


def test_concat_gives_offsets():
    a, b = find_groups(Joined(), torch.randn(2, 4))
    assert (a.consumes, b.consumes) == ((Slice("c.weight", 1),), (Slice("c.weight", 1, 3),))


def test_transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    found = {group.name: group for group in find_groups(net, torch.randn(2, 3, 8))}
    assert found["layers.0.self_attn"] == attention_heads(net, "layers.0.self_attn")
    assert found["layers.0.linear1"].size == 16
    stream = found["layers.0.self_attn.outputs"]
    assert set(stream.read_by) == {"layers.0.norm1", "layers.0.norm2", "the output of the model"}


class Fused(nn.Module):
    def __init__(self, mixed=False):
        super().__init__()
        self.num_heads, self.mixed = 2, mixed
        self.inp, self.norm = nn.Linear(4, 8), nn.LayerNorm(8)
        self.qkv, self.proj, self.head = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        b, n, _ = x.shape
        x = self.inp(x)
        shape = (b, n, 2, 3, 4) if self.mixed else (b, n, 3, 2, 4)
        order = (3, 0, 2, 1, 4) if self.mixed else (2, 0, 3, 1, 4)
        q, k, v = self.qkv(self.norm(x)).reshape(shape).permute(order).unbind(0)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, 8)
        return self.head((x + self.proj(y)).mean(1))


@pytest.mark.parametrize("mixed", [False, True])
def test_fused_heads(mixed):
    net = Fused(mixed)
    found = {group.name: group for group in find_groups(net, torch.randn(2, 3, 4))}
    (heads,) = [g for g in found.values() if g.size == 2]
    by_hand = attention_heads(net, "", heads=2, projections=["qkv"], out="proj", interleaved=mixed)
    assert parts(heads) == parts(by_hand)
    assert heads.produces[1].start == (4 if mixed else 8)
    stream = found["inp"]
    assert stream.read_by == ("norm",)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, True)])
def test_recurrent(kind, layers, both):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.e = nn.Embedding(7, 4)
            self.r = kind(4, 5, layers, batch_first=True, bidirectional=both)
            self.fc = nn.Linear(5 * (1 + both), 2)

        def forward(self, x):
            return self.fc(self.r(self.e(x))[0])

    net = Net()
    found = find_groups(net, torch.randint(0, 7, (2, 3)))
    by_hand = {group.name: parts(group) for group in recurrent_units(net, "r", ["fc.weight"])}
    assert {g.name: parts(g) for g in found if g.name != "e"} == by_hand
    (embedded,) = [g for g in found if g.name == "e"]
    assert embedded.produces == (Slice("e.weight", 1),)
    assert {one.param for one in embedded.consumes} == {
        f"r.weight_ih_l0{way}" for way in (("", "_reverse") if both else ("",))
    }


def test_a_weightless_reader_is_named():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = self.a(x).softmax(-1)
            return self.b(h)

    found = find_groups(Gate(), torch.randn(2, 3))
    assert not found.groups
    assert "softmax" in found.left_out["a"]
    assert "NodeGroup(name, size" in found.left_out["a"]
    engine = SleepEngine(Gate(), example_inputs=torch.randn(2, 3))
    with pytest.raises(SetupError, match="'a' makes no nodes that can sleep: something beside"):
        engine.sleep_nodes("a", 0)


def test_engine_finds_what_was_not_given(mlp, mlp_groups):
    named = dataclasses.replace(mlp_groups[0], name="hidden")
    engine = SleepEngine(mlp, nodes=[named], example_inputs=torch.randn(2, 4, dtype=torch.float64))
    assert list(engine.live.nodes.groups) == ["hidden", "2"]
    assert engine.sleep_nodes("0", 1) == 1


def test_inputs_that_do_not_fit(mlp):
    with pytest.raises(SetupError, match="does not run on example_inputs"):
        find_groups(mlp, torch.randn(2, 5, dtype=torch.float64))
