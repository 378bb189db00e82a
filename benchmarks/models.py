"""Models of the measurements, each also built by hand at the size of its awake nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def awake(size: int, share: float) -> int:
    """How many of `size` nodes are awake when this share sleeps."""
    return size - round(size * share)


def mlp(hidden: int = 4096) -> nn.Module:
    """1024 -> hidden -> hidden -> 1024 with ReLU."""
    layers = [nn.Linear(1024, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 1024))


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm, and a shortcut."""

    def __init__(self, read: int, inner: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or read != made:
            pair = [nn.Conv2d(read, made, 1, stride, bias=False), nn.BatchNorm2d(made)]
            self.short = nn.Sequential(*pair)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + self.short(x)).relu()


class ResNet18(nn.Module):
    """ResNet-18 for images of 32 x 32: four stages of two blocks.

    `share` of the channels within blocks are left out, and with `every` those between blocks too.
    """

    def __init__(self, share: float = 0.0, every: bool = False) -> None:
        super().__init__()
        inner = [awake(width, share) for width in (64, 128, 256, 512)]
        made = inner if every else [64, 128, 256, 512]
        self.stem = nn.Conv2d(3, made[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(made[0])
        blocks, read = [], made[0]
        for stage in range(4):
            for k in range(2):
                stride = 2 if stage and not k else 1
                blocks.append(Block(read, inner[stage], made[stage], stride))
                read = made[stage]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(read, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.stem(x)).relu())
        return self.head(x.mean((2, 3)))


class SelfAttention(nn.Module):
    """Causal attention of `heads` heads of 64 over a stream of `width`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.n_head, self.head_dim = heads, 64
        self.qkv = nn.Linear(width, 3 * heads * 64)
        self.proj = nn.Linear(heads * 64, width)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        parts = self.qkv(x).view(B, T, 3, self.n_head, self.head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(B, T, self.n_head * self.head_dim))


class Layer(nn.Module):
    """Attention and a feed-forward network, each behind a LayerNorm and a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Six layers of 384 with 6 heads, over 256 tokens."""

    def __init__(self, heads: int = 6, hidden: int = 1536) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, 384), nn.Embedding(128, 384)
        self.layers = nn.Sequential(*[Layer(384, heads, hidden) for _ in range(6)])
        self.norm, self.head = nn.LayerNorm(384), nn.Linear(384, 256)

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places(torch.arange(x.shape[1], device=x.device))
        return self.head(self.norm(self.layers(h)))


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    make: the full model.
    small: built by hand for a share of sleeping nodes.
    sleeping: group name and size -> how many of its nodes sleep.
    batch: inputs and targets of a training step.
    """

    make: Callable[[], nn.Module]
    small: Callable[[float], nn.Module]
    sleeping: Callable[[str, int, float], int]
    batch: Callable[[], tuple[Tensor, Tensor]]


def _heads(share: float) -> int:
    return {0.5: 3, 0.75: 2, 0.9: 1}.get(share, awake(6, share))


def _inner(name: str, size: int, share: float) -> int:
    return round(size * share) if name.endswith("conv1") else 0


def _gpt(name: str, size: int, share: float) -> int:
    if name.endswith("attn"):
        return size - _heads(share)
    return round(size * share) if name.endswith("up") else 0


def _images() -> tuple[Tensor, Tensor]:
    return torch.randn(16, 3, 32, 32), torch.randint(10, (16,))


def _text() -> tuple[Tensor, Tensor]:
    words = torch.randint(256, (4, 129))
    return words[:, :-1], words[:, 1:]


SUBJECTS: Mapping[str, Subject] = {
    "mlp 1024-4096-4096-1024": Subject(
        mlp,
        lambda share: mlp(awake(4096, share)),
        lambda name, size, share: round(size * share),
        lambda: (torch.randn(64, 1024), torch.randint(1024, (64,))),
    ),
    "resnet18, channels within blocks": Subject(ResNet18, ResNet18, _inner, _images),
    "resnet18, all channels": Subject(
        ResNet18,
        lambda share: ResNet18(share, every=True),
        lambda name, size, share: round(size * share),
        _images,
    ),
    "transformer, hidden units and heads": Subject(
        Transformer,
        lambda share: Transformer(_heads(share), awake(1536, share)),
        _gpt,
        _text,
    ),
}

STEPS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]] = {
    "mlp300": (
        lambda: nn.Sequential(
            nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10)
        ),
        lambda: (torch.randn(128, 784), torch.randint(10, (128,))),
    ),
    "mlp4096": (mlp, lambda: (torch.randn(64, 1024), torch.randint(1024, (64,)))),
    "resnet18": (ResNet18, lambda: (torch.randn(32, 3, 32, 32), torch.randint(10, (32,)))),
    "gpt": (
        Transformer,
        lambda: (torch.randint(256, (8, 128)), torch.randint(256, (8, 128))),
    ),
}
"""Models and batches of the measurements of training steps."""
