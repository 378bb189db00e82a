"""Which samples form which batch: a pure function of seed and epoch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from sleepengine.errors import SetupError


@dataclass(frozen=True)
class BatchOrder:
    """The batches of every epoch, for one process of `world_size`.

    Each epoch is one permutation of all samples. Batch b of all processes together is its slice
    [b * batch_size * world_size, (b + 1) * batch_size * world_size), dealt out in turn (strided).
    With `drop_last` only whole batches of that size count; otherwise the last may be shorter, and
    as many samples from the front of the epoch are repeated as make it equal on every process.

    Raises:
        SetupError: a size that is not positive, a rank outside the world, or no batch at all.

    >>> order = BatchOrder(length=5, batch_size=2, seed=0, shuffle=False)
    >>> len(order), order.indices(0).tolist()
    (3, [0, 1, 2, 3, 4])
    >>> BatchOrder(5, 1, 0, shuffle=False, rank=1, world_size=2).indices(0).tolist()
    [1, 3, 0]
    """

    length: int
    batch_size: int
    seed: int
    shuffle: bool = True
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for name in ("length", "batch_size", "seed", "rank", "world_size"):
            value = getattr(self, name)
            if type(value) is not int:
                raise SetupError(f"{name} must be an integer, found {value!r}")
        for name in ("length", "batch_size", "world_size"):
            if getattr(self, name) < 1:
                raise SetupError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0 <= self.rank < self.world_size:
            raise SetupError(f"rank must be 0 to {self.world_size - 1}, found {self.rank}")
        if len(self) == 0:
            raise SetupError(
                f"{self.length} samples give no batch of {self.batch_size} on {self.world_size} "
                "processes with drop_last=True; use a smaller batch_size or drop_last=False"
            )

    def __len__(self) -> int:
        """Batches per epoch, the same on every process."""
        whole, rest = divmod(self.length, self.batch_size * self.world_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def indices(self, epoch: int) -> Tensor:
        """The samples that this process sees in an epoch, in order (int64, on the CPU)."""
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed_of(epoch, "order"))
            order = torch.randperm(self.length, generator=generator)
        else:
            order = torch.arange(self.length)
        if self.drop_last:
            order = order[: len(self) * self.batch_size * self.world_size]
        else:
            short = -self.length % self.world_size
            order = torch.cat([order, order.repeat(-(-short // self.length))[:short]])
        return order[self.rank :: self.world_size]

    def seed_of(self, epoch: int, use: str) -> int:
        """A seed for one use in one epoch; uses, epochs and seeds do not overlap."""
        # Hashed: with seed + epoch, epoch 1 of seed 0 would be epoch 0 of seed 1.
        digest = hashlib.sha256(f"{use} {self.seed} {epoch}".encode()).digest()
        return int.from_bytes(digest[:7], "little")
