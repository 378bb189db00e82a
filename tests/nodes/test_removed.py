"""A sleeping node gives its consumers what a model without the node gives them."""

import copy

import pytest
import torch
from torch import nn

from sleepengine import SleepEngine
from sleepengine.nodes import NodeGroup, Slice
from sleepengine.nodes.hand_written import attention_heads, recurrent_units


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_mlp_with_sigmoid(mlp, mlp_groups, cut):
    whole = copy.deepcopy(mlp)
    SleepEngine(mlp, nodes=mlp_groups).sleep_nodes("0", [1, 4])
    small = cut(
        whole, {"0.weight": ((0, [1, 4]),), "0.bias": ((0, [1, 4]),), "2.weight": ((1, [1, 4]),)}
    )
    x = torch.randn(7, 4, dtype=torch.float64)
    same(mlp(x), small(x))


@pytest.mark.parametrize("training", [False, True])
def test_convolution_batchnorm_residual(residual, residual_group, cut, training):
    whole = copy.deepcopy(residual)
    engine = SleepEngine(residual, nodes=[residual_group])
    engine.sleep_nodes("c2", 2)
    one, flat = ((0, [2]),), ((1, [8, 9, 10, 11]),)
    small = cut(
        whole,
        {
            "c1.weight": one,
            "c1.bias": one,
            "c2.weight": ((0, [2]), (1, [2])),
            "c2.bias": one,
            "fc.weight": flat,
            **{f"{n}.{k}": one for n in ("b1", "b2") for k in ("weight", "bias")},
            **{f"{n}.running_{k}": one for n in ("b1", "b2") for k in ("mean", "var")},
        },
    )
    residual.train(training), small.train(training)
    x = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    same(residual(x), small(x))


def test_depthwise(cut):
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1), nn.Conv2d(3, 3, 2, groups=3), nn.Sigmoid(), nn.Conv2d(3, 2, 1)
    ).double()
    small = copy.deepcopy(net)
    group = NodeGroup(
        "0",
        3,
        [Slice("0.weight"), Slice("1.weight")],
        [Slice("3.weight", 1)],
        ["0.bias", "1.bias"],
    )
    SleepEngine(net, nodes=[group]).sleep_nodes("1", [0])
    one = ((0, [0]),)
    cut(
        small,
        {"0.weight": one, "0.bias": one, "1.weight": one, "1.bias": one, "3.weight": ((1, [0]),)},
    )
    small[1].groups = 2
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    same(net(x), small(x))


def test_grouped_convolution_reads_its_own_block():
    net = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Sigmoid(), nn.Conv1d(4, 6, 1, groups=2)).double()
    whole = copy.deepcopy(net)
    group = NodeGroup("0", 4, [Slice("0.weight")], [Slice("2.weight", 1, groups=2)], ["0.bias"])
    SleepEngine(net, nodes=[group]).sleep_nodes("0", 3)
    x = torch.randn(2, 2, 5, dtype=torch.float64)
    hidden = whole[1](whole[0](x)).detach()
    hidden[:, 3] = 0
    same(net(x), whole[2](hidden))


def test_attention_heads():
    whole = nn.MultiheadAttention(6, 3, batch_first=True).double()
    with torch.no_grad():
        whole.in_proj_bias.normal_()
    net = nn.Sequential(copy.deepcopy(whole))
    engine = SleepEngine(net, nodes=[attention_heads(net, "0")])
    engine.sleep_nodes("0", 1)
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    q, k, v = nn.functional.linear(x, whole.in_proj_weight, whole.in_proj_bias).chunk(3, -1)
    heads = [slice(0, 2), slice(4, 6)]  # without the second
    read = [torch.softmax(q[..., h] @ k[..., h].mT / 2**0.5, -1) @ v[..., h] for h in heads]
    rest = whole.out_proj.weight[:, [0, 1, 4, 5]]
    same(net[0](x, x, x)[0], nn.functional.linear(torch.cat(read, -1), rest, whole.out_proj.bias))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_units(kind, cut):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.r = kind(3, 4, batch_first=True)
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.r(x)[0])

    net = Reader().double()
    whole = copy.deepcopy(net)
    SleepEngine(net, nodes=recurrent_units(net, "r", ["fc.weight"])).sleep_nodes("r", [2])
    gates = 4 if kind is nn.LSTM else 3
    gone = [2 + 4 * g for g in range(gates)]
    small = Reader().double()
    small.r = kind(3, 3, batch_first=True).double()
    cut(whole, {"fc.weight": ((1, [2]),)})
    small.fc = whole.fc
    keep = [i for i in range(4 * gates) if i not in gone]
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            value = getattr(whole.r, name)[keep]
            getattr(small.r, name).copy_(
                value[:, [0, 1, 3]] if "hh" in name and value.dim() > 1 else value
            )
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    same(net(x), small(x))
