"""A small attention model for pipelines: the rows of an image are its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sleepengine.errors import SetupError

MOST_BLOCKS = 1000


class Block(nn.Module):
    """x + attention(norm(x)), then x + fc2(gelu(fc1(norm(x))))."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) -> the same shape."""
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        out: Tensor = x + self.fc2(self.act(self.fc1(self.norm2(x))))
        return out


class TinyTransformer(nn.Module):
    """Rows of an image -> `embed` and `position` -> `blocks` -> mean -> `head`."""

    def __init__(
        self, row: int, rows: int, classes: int, width: int, heads: int, depth: int
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(row, width)
        self.position = nn.Parameter(torch.zeros(rows, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, 2 * width) for _ in range(depth)),
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, classes)."""
        tokens = self.embed(x.transpose(1, 2).flatten(2)) + self.position
        out: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return out


def tiny_transformer(
    input_shape: Sequence[int],
    classes: int,
    *,
    width: int = 32,
    heads: int = 4,
    depth: int = 2,
    seed: int = 0,
) -> TinyTransformer:
    """Attention over the rows of an image: Linear embedding, blocks, mean, Linear.

    Layers are `embed`, `blocks.0.attention`, `blocks.0.fc1`, `blocks.0.fc2`, ..., `head`; every
    layer is drawn by its own initialiser. The global random state is neither read nor changed.

    Args:
        input_shape: (channels, height, width) of the image.
        classes: outputs.
        width: numbers per token.
        heads: attention heads, which divide `width`.
        depth: blocks.
        seed: of the weights.

    Raises:
        SetupError: another shape, or heads that do not divide the width.

    >>> tiny_transformer((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    if len(input_shape) != 3:
        raise SetupError(
            "tiny_transformer needs inputs of (channels, height, width), "
            f"found {tuple(input_shape)}"
        )
    for name, value in (("width", width), ("heads", heads), ("depth", depth)):
        if type(value) is not int or value < 1:
            raise SetupError(f"tiny_transformer({name}={value!r}): a positive integer is needed")
    if depth > MOST_BLOCKS:
        raise SetupError(f"tiny_transformer(depth={depth}): at most {MOST_BLOCKS} blocks")
    if width % heads:
        raise SetupError(f"tiny_transformer: {heads} heads do not divide a width of {width}")
    channels, height, row = input_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TinyTransformer(channels * row, height, classes, width, heads, depth)
        nn.init.normal_(model.position, std=0.02)
    return model
