"""What nodes cost, against the model with the nodes cut out, and against formulas by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sleepengine import SetupError, SleepEngine, smaller_model
from sleepengine.nodes import NodeGroup, Slice
from sleepengine.nodes.hand_written import attention_heads
from sleepengine.nodes.prices import NodePrices
from sleepengine.nodes.work import work_of


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.n_head, self.width = 4, 3
        self.qkv, self.proj = nn.Linear(5, 36), nn.Linear(12, 5)

    def forward(self, x):
        B, T, _ = x.shape
        q, k, v = (
            one.view(B, T, self.n_head, self.width).transpose(1, 2)
            for one in self.qkv(x).chunk(3, -1)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(B, T, self.n_head * self.width))


class Units(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.out = kind(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2, groups=6),
        nn.ConvTranspose2d(6, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )


NETS = {
    "mlp": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Linear(5, 3)),
        (7, 4),
        {"0": [1, 4], "2": [0, 3]},
    ),
    "convolutions": (convolutions, (2, 2, 8, 8), {"0": [0, 2, 5], "4": [1]}),
    "attention": (Attention, (2, 3, 5), {"heads": [0, 2]}),
    "lstm": (lambda: Units(nn.LSTM), (2, 4, 3), {"rnn": [1, 5]}),
    "gru": (lambda: Units(nn.GRU), (2, 4, 3), {"rnn": [1, 3, 5]}),
}


def counted(model, x):
    """Parameters, and FLOPs as torch counts them with fused kernels taken apart."""
    math = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, math, torch.no_grad():
            model(x)
    finally:
        torch._C._set_mkldnn_enabled(enabled)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops()


@pytest.mark.parametrize("net", NETS)
def test_what_goes_is_what_the_smaller_model_lacks(net):
    make, shape, sleep = NETS[net]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    engine = SleepEngine(model, example_inputs=x)
    for name, nodes in sleep.items():
        engine.sleep_nodes(name, nodes)
    nodes = engine.live.nodes
    asleep = {name: engine.is_sleeping_node(name) for name in sleep}
    small = counted(smaller_model(engine, x).model, x)
    full = counted(model, x)
    prices = nodes.prices({})
    assert prices.parameters(asleep) == (full[0] - small[0], full[0])
    assert prices.flops(asleep) == (full[1] - small[1], full[1])
    # What sleeps already need not be named again.
    assert nodes.prices(asleep).parameters({}) == (full[0] - small[0], full[0])
    assert prices.parameters({}) == (0, full[0])
    assert prices.flops({}) == (0, full[1])


def test_a_mixed_weight_goes_once():
    """fc1 2x3, fc2 4x2: node 0 of both layers own 3 + 1 and 1 + 4 entries, one of them shared."""
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    engine = SleepEngine(model, example_inputs=torch.zeros(1, 3))
    prices = engine.live.nodes.prices({})
    first, second = torch.tensor([True, False]), torch.tensor([True, False, False, False])
    assert prices.parameters({"0": first})[0] == 3 + 1 + 4  # row, bias, column
    assert prices.parameters({"2": second})[0] == 2 + 1 + 1
    assert prices.parameters({"0": first, "2": second})[0] == 8 + 4 - 1


def test_grouped_convolutions_count_their_own_blocks():
    """Four channels read by two blocks of two: one of four takes 3 of the 6 rows' 2 columns."""
    shapes = {"made": torch.Size([4, 1]), "read": torch.Size([6, 2, 3, 3])}
    group = NodeGroup("g", 4, [Slice("made")], [Slice("read", 1, groups=2)])
    prices = NodePrices({"g": group}, shapes, {})
    assert prices.parameters({"g": torch.tensor([True, False, False, False])}) == (
        1 + 3 * 9,
        4 + 6 * 2 * 9,
    )


def test_formulas_by_hand():
    B, T, E, H = 2, 3, 4, 2
    mha = nn.MultiheadAttention(E, H, batch_first=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mha = mha

        def forward(self, x):
            return self.mha(x, x, x, need_weights=False)[0]

    model = Net()
    work = work_of(model, torch.zeros(B, T, E))
    assert work.of_weights == {
        "mha.in_proj_weight": 2 * B * T * E * 3 * E,
        "mha.out_proj.weight": 2 * B * T * E * E,
    }
    assert work.between == {"mha": 2 * (2 * B * T * T * E)}  # scores, and their use
    heads = attention_heads(model, "mha")
    shapes = {name: p.shape for name, p in model.named_parameters()}
    prices = NodePrices({"mha": heads}, shapes, {}, lambda: work)
    # One of two heads has half of everything.
    assert prices.flops({"mha": torch.tensor([True, False])}) == (work.total // 2, work.total)
    conv = nn.Conv2d(3, 5, (2, 3), stride=2, padding=1, groups=1)
    assert work_of(conv, torch.zeros(2, 3, 8, 9)).total == 2 * 2 * (5 * 5) * 5 * 3 * 6
    lstm = work_of(nn.LSTM(3, 4), torch.zeros(6, 2, 3))
    assert lstm.of_weights == {"weight_ih_l0": 2 * 12 * 16 * 3, "weight_hh_l0": 2 * 12 * 16 * 4}


def test_counting_leaves_no_trace():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    x = torch.randn(3, 2)
    drawn, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    work_of(model, x)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not model[0]._forward_hooks
    assert not model[0]._forward_pre_hooks
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_inputs_that_do_not_fit():
    with pytest.raises(SetupError, match="does not run on example_inputs"):
        work_of(nn.Linear(2, 2), torch.zeros(1, 3))
