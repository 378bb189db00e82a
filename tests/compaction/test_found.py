"""Groups that were found from the graph: transformers, Ignite trainers, scaled gradients."""

import copy

import pytest
import torch
from ignite.engine import create_supervised_trainer
from torch import nn

from sleepengine import SleepEngine

pytest.importorskip("torch_pruning")
pytestmark = pytest.mark.filterwarnings("ignore:nodes of")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n_head, self.head_dim = 4, 2
        self.norm1, self.norm2 = nn.LayerNorm(6), nn.LayerNorm(6)
        self.qkv, self.proj = nn.Linear(6, 24), nn.Linear(8, 6)
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x):
        B, T, _ = x.shape
        parts = self.qkv(self.norm1(x)).view(B, T, 3, self.n_head, self.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(B, T, self.n_head * self.head_dim))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(9, 6)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(6, 9)

    def forward(self, x):
        return self.head(self.blocks(self.tokens(x)))


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = Tiny().double()
    inputs = torch.randint(9, (2, 5))

    def begin(twin, **more):
        optimizer = torch.optim.AdamW(twin.parameters(), 0.01)
        engine = SleepEngine(twin, optimizer, example_inputs=inputs, **more)
        return twin, optimizer, engine

    return begin(copy.deepcopy(model)), begin(model), inputs


def test_heads_and_hidden_units(tiny):
    (masked, first, one), (small, second, two), inputs = tiny
    for engine in (one.attach(), two.attach()):
        for k in (0, 1):
            engine.sleep_nodes(f"blocks.{k}", [1, 2])
            engine.sleep_nodes(f"blocks.{k}.up", [*range(9)])
    assert two.compact().groups["blocks.0"] == (2, 4)
    assert (small.blocks[0].n_head, small.blocks[1].up.out_features) == (2, 3)
    for _ in range(10):
        for model, optimizer in ((masked, first), (small, second)):
            optimizer.zero_grad()
            output = model(inputs).flatten(0, 1)
            nn.functional.cross_entropy(output, inputs.flatten()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    for name, value in masked.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value, msg=name)
    two.expand()
    assert (small.blocks[0].n_head, small.blocks[1].up.out_features) == (4, 12)


def test_the_stream_is_left_because_norms_average_over_it(tiny):
    _, (small, _, engine), _ = tiny
    engine.attach()
    engine.sleep_nodes("tokens", [0])
    engine.sleep_nodes("blocks.0.up", [0])
    with pytest.warns(UserWarning, match="nodes of 'tokens': they are read by"):
        made = engine.compact()
    assert list(made.groups) == ["blocks.0.up"]
    assert small.tokens.weight.shape == (9, 6)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_under_an_ignite_trainer(tiny):
    (masked, first, one), (small, second, two), inputs = tiny

    def loss(output, target):
        return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())

    shapes = []
    for model, optimizer, engine in ((masked, first, one), (small, second, two)):
        trainer = create_supervised_trainer(model, optimizer, loss)
        with engine.attach(trainer):
            engine.sleep_nodes("blocks.0.up", [*range(6)])
            if engine is two:
                engine.compact()
            trainer.run([(inputs, inputs)] * 3, max_epochs=2)
            shapes.append(tuple(model.blocks[0].up.weight.shape))
    assert shapes == [(12, 6), (6, 6)]
    for name, value in masked.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], value, msg=name)


def test_scaled_gradients_and_autocast():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    twin = copy.deepcopy(model)
    x = torch.randn(16, 8)
    for net in (model, twin):
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        with SleepEngine(net, optimizer, example_inputs=x[:1]).attach() as engine:
            engine.sleep_nodes("0", [*range(20)])
            if net is twin:
                engine.compact()
            for _ in range(4):
                optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16):
                    output = net(x)
                scaler.scale(output.float().square().mean()).backward()
                scaler.step(optimizer)
                scaler.update()
            assert net[0].weight.shape[0] == (12 if net is twin else 32)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, rtol=0.02, atol=1e-3, msg=name)
