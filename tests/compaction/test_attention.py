"""Heads of nn.MultiheadAttention alone: refused by name, with the evidence; what works instead."""

import pytest
import torch
from torch import nn

from sleepengine import SetupError, SleepEngine
from sleepengine.nodes.hand_written import attention_heads


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.mha = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.mha(x, x, x)[0]


def test_heads_alone_are_refused_and_what_works_is_named():
    model = Net().double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer, nodes=[attention_heads(model, "mha")]).attach()
    engine.sleep_nodes("mha", 0)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    told = "takes the width of its heads from the width of its input.*1 heads of 2 cannot serve"
    with pytest.raises(SetupError, match=told) as refusal:
        engine.compact(example_inputs=x)
    assert "write the attention with linear layers" in str(refusal.value)
    assert not engine.compacted
    assert (model.mha.embed_dim, model.mha.num_heads) == (4, 2)
    assert model.mha.in_proj_weight.shape == (12, 4)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "separate"])
@pytest.mark.parametrize("training", [True, False])
def test_torch_cannot_run_fewer_heads_than_the_input_is_wide(packed, training):
    """The evidence: with one head of two cut out, no value of the attributes makes it run."""
    widths = {} if packed else {"kdim": 3, "vdim": 3}
    mha = nn.MultiheadAttention(4, 2, batch_first=True, **widths)
    x, other = torch.randn(2, 3, 4), torch.randn(2, 3, 4 if packed else 3)
    names = ("in_proj_weight",) if packed else ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    for name in (*names, "in_proj_bias"):
        tensor = getattr(mha, name)
        tensor.data = torch.cat([part[:2] for part in tensor.detach().split(4)])
    mha.out_proj.weight.data = mha.out_proj.weight.data[:, :2].clone()
    mha.train(training)
    for width, heads in ((4, 1), (4, 2), (2, 1)):
        mha.embed_dim, mha.num_heads, mha.head_dim = width, heads, 2
        with pytest.raises((RuntimeError, AssertionError)):
            mha(x, other, other)


class ByHand(nn.Module):
    """The same attention from linear layers, with its number of heads in an attribute."""

    def __init__(self, mha):
        super().__init__()
        E = mha.embed_dim
        self.n_head, self.width = mha.num_heads, mha.head_dim
        self.qkv, self.out = nn.Linear(E, 3 * E), nn.Linear(E, E)
        self.qkv.load_state_dict({"weight": mha.in_proj_weight, "bias": mha.in_proj_bias})
        self.out.load_state_dict(mha.out_proj.state_dict())

    def forward(self, x):
        q, k, v = (
            one.unflatten(-1, (self.n_head, self.width)).transpose(1, 2)
            for one in self.qkv(x).chunk(3, -1)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


def test_written_with_linear_layers_heads_can_go():
    net = Net().double()
    model, x = ByHand(net.mha).double(), torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(model(x), net(x))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    engine = SleepEngine(model, optimizer, example_inputs=x).attach()
    assert [group.name for group in engine.live.nodes.groups.values()] == ["heads"]
    engine.sleep_nodes("heads", 0)
    before = model(x)
    made = engine.compact()
    assert dict(made.groups) == {"heads": (1, 2)}
    assert (model.n_head, model.qkv.out_features, model.out.in_features) == (1, 6, 2)
    torch.testing.assert_close(model(x), before)
