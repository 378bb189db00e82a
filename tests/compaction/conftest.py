"""Networks of every kind of layer in float64, and runs of them under an engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sleepengine import SleepEngine
from sleepengine.nodes import NodeGroup, Slice
from sleepengine.nodes.hand_written import attention_heads, recurrent_units


@pytest.fixture(autouse=True)
def _same_start() -> None:
    torch.manual_seed(0)


@dataclass(frozen=True)
class Case:
    """A model, inputs of one step, its node groups, and which nodes sleep."""

    make: Callable[[], nn.Module]
    batch: Callable[[], Tensor]
    groups: Callable[[nn.Module], list[NodeGroup]]
    sleep: dict[str, list[int]]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **more: Any) -> None:
        super().__init__()
        self.rnn = kind(3, 6, batch_first=True, **more)
        width = (more.get("proj_size") or 6) * (2 if more.get("bidirectional") else 1)
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0])


class Residual(nn.Module):
    """Two convolutions whose channels are added up, BatchNorm, and a flattened map.

    A bias before BatchNorm would have a gradient of rounding errors alone, which some optimizers
    divide by its own size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b1(self.c1(x)).relu()
        return self.fc((x + self.b2(self.c2(x)).sigmoid()).flatten(1))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.out = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.out.weight = self.emb.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.emb(x).tanh())


class Attention(nn.Module):
    """Hand-written attention: the count of heads is an attribute, their width another."""

    def __init__(self) -> None:
        super().__init__()
        self.n_head, self.width = 4, 3
        self.qkv, self.proj = nn.Linear(5, 36), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        q, k, v = (
            one.view(B, T, self.n_head, self.width).transpose(1, 2)
            for one in self.qkv(x).chunk(3, -1)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(B, T, self.n_head * self.width))


class MHA(nn.Module):
    """Channels and heads of one attention that sleep together."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.mha = nn.Linear(3, 8), nn.MultiheadAttention(8, 4, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        return self.out(x + self.mha(x, x, x, need_weights=False)[0])


def _mha_groups(model: nn.Module) -> list[NodeGroup]:
    stream = NodeGroup(
        "stream",
        8,
        [Slice("inp.weight"), Slice("mha.out_proj.weight")],
        [Slice("mha.in_proj_weight", 1), Slice("out.weight", 1)],
        ["inp.bias", "mha.out_proj.bias"],
    )
    return [stream, attention_heads(model, "mha")]


def _mlp() -> nn.Module:
    layers = [nn.Linear(4, 6), nn.Sigmoid(), nn.Linear(6, 5), nn.Sigmoid(), nn.Linear(5, 3)]
    return nn.Sequential(*layers)


def _mlp_groups(model: nn.Module) -> list[NodeGroup]:
    return [
        NodeGroup("0", 6, [Slice("0.weight")], [Slice("2.weight", 1)], ["0.bias"]),
        NodeGroup("2", 5, [Slice("2.weight")], [Slice("4.weight", 1)], ["2.bias"]),
    ]


def _convs(dims: int, transposed: bool = False) -> Case:
    conv = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1]
    turned = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d][dims - 1]
    norm = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][dims - 1]

    def make() -> nn.Module:
        middle = turned if transposed else conv
        return nn.Sequential(
            conv(2, 4, 2, bias=False),
            norm(4),
            nn.PReLU(4),
            middle(4, 5, 2),
            nn.Sigmoid(),
            conv(5, 2, 1),
        )

    def groups(model: nn.Module) -> list[NodeGroup]:
        made, read = (1, 0) if transposed else (0, 1)
        return [
            NodeGroup(
                "0",
                4,
                [Slice("0.weight")],
                [Slice("3.weight", read)],
                ["1.weight", "1.bias", "2.weight"],
                ["1.running_mean", "1.running_var"],
            ),
            NodeGroup("3", 5, [Slice("3.weight", made)], [Slice("5.weight", 1)], ["3.bias"]),
        ]

    return Case(make, lambda: torch.randn(3, 2, *[4] * dims), groups, {"0": [1, 2], "3": [0, 3]})


def _depthwise() -> Case:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Tanh(), nn.Conv2d(4, 2, 1)
        )

    def groups(model: nn.Module) -> list[NodeGroup]:
        made = [Slice("0.weight"), Slice("1.weight")]
        return [NodeGroup("0", 4, made, [Slice("3.weight", 1)], ["0.bias", "1.bias"])]

    return Case(make, lambda: torch.randn(2, 2, 4, 4), groups, {"0": [0, 2]})


def _grouped() -> Case:
    """Four channels in two blocks of two; one of each block sleeps."""

    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), nn.Conv2d(4, 6, 1, groups=2))

    def groups(model: nn.Module) -> list[NodeGroup]:
        reads = [Slice("2.weight", 1, groups=2)]
        return [NodeGroup("0", 4, [Slice("0.weight")], reads, ["0.bias"])]

    return Case(make, lambda: torch.randn(2, 2, 2, 2), groups, {"0": [1, 2]})


def _residual_groups(model: nn.Module) -> list[NodeGroup]:
    return [
        NodeGroup(
            "c1",
            4,
            [Slice("c1.weight"), Slice("c2.weight")],
            [Slice("c2.weight", 1), Slice("fc.weight", 1, 0, 9, 9)],
            ["b1.weight", "b1.bias", "b2.weight", "b2.bias"],
            ["b1.running_mean", "b1.running_var", "b2.running_mean", "b2.running_var"],
        )
    ]


def _recurrent(kind: type[nn.RNNBase], sleep: dict[str, list[int]], **more: Any) -> Case:
    def groups(model: nn.Module) -> list[NodeGroup]:
        return recurrent_units(model, "rnn", () if more.get("proj_size") else ["out.weight"])

    return Case(lambda: Recurrent(kind, **more), lambda: torch.randn(2, 4, 3), groups, sleep)


def _heads(model: nn.Module) -> list[NodeGroup]:
    made = attention_heads(model, "", heads=4, projections=["qkv"], out="proj")
    return [
        NodeGroup("heads", 4, made.produces, made.consumes, made.per_node, counted_by=["n_head"])
    ]


CASES: dict[str, Case] = {
    "linear": Case(_mlp, lambda: torch.randn(3, 4), _mlp_groups, {"0": [1, 4], "2": [0, 2, 3]}),
    "conv1d": _convs(1),
    "conv2d": _convs(2),
    "conv3d": _convs(3),
    "transposed": _convs(2, transposed=True),
    "depthwise": _depthwise(),
    "grouped": _grouped(),
    "residual": Case(Residual, lambda: torch.randn(3, 2, 3, 3), _residual_groups, {"c1": [1, 3]}),
    "embedding": Case(
        Words,
        lambda: torch.randint(7, (2, 3)),
        lambda m: [NodeGroup("emb", 5, [Slice("emb.weight", 1)], [Slice("emb.weight", 1)])],
        {"emb": [0, 3]},
    ),
    "lstm": _recurrent(nn.LSTM, {"rnn": [1, 5]}),
    "gru": _recurrent(nn.GRU, {"rnn": [0, 2, 3]}),
    "rnn": _recurrent(nn.RNN, {"rnn": [4]}),
    "deep gru": _recurrent(
        nn.GRU,
        {"rnn.l0": [1], "rnn.l0_reverse": [2], "rnn.l1": [3], "rnn.l1_reverse": [0]},
        num_layers=2,
        bidirectional=True,
    ),
    "projected lstm": _recurrent(nn.LSTM, {"rnn": [1, 2]}, proj_size=2),
    "heads": Case(Attention, lambda: torch.randn(2, 3, 5), _heads, {"heads": [0, 2]}),
    "attention": Case(
        MHA, lambda: torch.randn(2, 3, 3), _mha_groups, {"stream": [0, 3, 4, 7], "mha": [1, 2]}
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def cases() -> dict[str, Case]:
    return CASES


@dataclass
class Run:
    """A model in training under an engine."""

    model: nn.Module
    optimizer: Any
    engine: SleepEngine

    def step(self, batch: Tensor) -> Tensor:
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.model(batch).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def compact(self, batch: Tensor) -> Any:
        return self.engine.compact(example_inputs=batch)


Optimizers = Callable[[Any], torch.optim.Optimizer]


@pytest.fixture
def start() -> Callable[..., Run]:
    """An attached engine over a model of a case; the same weights each time."""

    def begin(case: Case, optimizer: Optimizers, sleep: bool = True, **more: Any) -> Run:
        torch.manual_seed(1)
        model = case.make().double()
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name.endswith("running_var"):
                    buffer.uniform_(0.5, 2.0)
        made = optimizer(model.parameters())
        engine = SleepEngine(model, made, nodes=case.groups(model), **more).attach()
        run = Run(model, made, engine)
        if sleep:
            for name, nodes_asleep in case.sleep.items():
                engine.sleep_nodes(name, nodes_asleep)
        return run

    return begin


@pytest.fixture
def batches() -> Callable[..., list[Tensor]]:
    """Inputs of some steps, the same each time."""

    def make(case: Case, steps: int, seed: int = 5) -> list[Tensor]:
        torch.manual_seed(seed)
        made = [case.batch() for _ in range(steps)]
        return [one.double() if one.is_floating_point() else one for one in made]

    return make


@pytest.fixture
def picture() -> Callable[[Run], dict[str, Tensor]]:
    """Everything that a run would save of model and optimizer, in memory of its own."""

    def take(run: Run) -> dict[str, Tensor]:
        found = {name: value.clone() for name, value in run.model.state_dict().items()}
        for place, state in run.optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    found[f"{place}.{key}"] = copy.deepcopy(value)
        return found

    return take
