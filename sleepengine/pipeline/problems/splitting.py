"""Fixed splits and scaling of raw tensors: pure functions of their arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.pipeline.problems.bundle import Scaling


def stratified(y: Tensor, valid: float, test: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of train, valid and test, with floor(f n_c + 1/2) samples of each class c.

    A pure function of the labels, the fractions and the seed; each part is in ascending order.

    Args:
        y: labels, shape (n,), int64.
        valid: share of each class for validation, 0 to 1.
        test: share of each class for the test.
        seed: picks which ones.

    Raises:
        SetupError: a fraction is not in [0, 1), or nothing is left to train on.

    >>> train, valid, test = stratified(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, 0.25, seed=0)
    >>> len(train), len(valid), len(test)
    (4, 2, 2)
    """
    for name, share in (("valid", valid), ("test", test)):
        if not 0 <= share < 1:
            raise SetupError(f"{name} is a share of the samples from 0 to 1, found {share}")
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in torch.unique(y):
        members = torch.nonzero(y == label).flatten()
        mixed = members[torch.randperm(len(members), generator=generator)]
        held, tested = int(valid * len(mixed) + 0.5), int(test * len(mixed) + 0.5)
        if held + tested >= len(mixed):
            raise SetupError(
                f"valid={valid} and test={test} leave nothing of class {int(label)} to train on"
            )
        parts[0].append(mixed[held + tested :])
        parts[1].append(mixed[:held])
        parts[2].append(mixed[held : held + tested])
    train, validation, testing = (torch.cat(part).sort().values for part in parts)
    return train, validation, testing


def measure(raw: Tensor, full: float) -> Scaling:
    """The mean and the standard deviation of raw / full, over every value, from exact sums.

    Args:
        raw: non-negative integers below 2^8, any integer dtype, at least one value.
        full: the largest raw value there can be.

    Raises:
        SetupError: all values are the same.

    >>> measure(torch.tensor([0, 2, 0, 2], dtype=torch.uint8), full=2.0)
    Scaling(full=2.0, mean=0.5, std=0.5)
    """
    total = squares = 0
    for piece in raw.reshape(-1).split(1 << 20):  # in pieces: int64 copies are eight times as big
        wide = piece.to(torch.int64)
        total += int(wide.sum())
        squares += int((wide * wide).sum())
    count = raw.numel()
    variance = (count * squares - total * total) / (count * count)
    if variance <= 0:
        raise SetupError("all input values are the same, so they cannot be scaled")
    return Scaling(full, total / count / full, variance**0.5 / full)
